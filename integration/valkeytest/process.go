package valkeytest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"hubstream/integration/internal/proc"
)

// startTries is how often a server is started on a fresh port before giving up: another process may have taken it.
const startTries = 5

func startProcess(args []string) (*Server, error) {
	bin, err := exec.LookPath("valkey-server")
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		port, err := proc.FreePort()
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp("", "valkeytest-")
		if err != nil {
			return nil, err
		}
		m := &process{bin: bin, port: port, dir: dir, args: args}
		err = m.start()
		if err == nil {
			return &Server{Addr: loopback(port), machine: m}, nil
		}
		os.RemoveAll(dir)
		if try == startTries {
			return nil, fmt.Errorf("%w\n%s", err, m.describe())
		}
	}
}

// process is a valkey-server of this machine.
type process struct {
	bin  string
	port int
	dir  string
	args []string
	proc *proc.Proc // nil before the first start
}

func (m *process) start() error {
	base := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(m.port), "--dir", m.dir, "--daemonize", "no",
		"--save", "", "--appendonly", "no", "--repl-diskless-load", "on-empty-db",
	}
	p, err := proc.Start(exec.Command(m.bin, append(base, m.args...)...))
	if err != nil {
		return err
	}
	m.proc = p
	err = eventually(readyTimeout, func() error {
		select {
		case <-p.Done():
			return nil // waiting longer is no use; told apart below
		default:
			return m.ready(p)
		}
	})
	select {
	case <-p.Done():
		return fmt.Errorf("valkey-server ended at its start: %w", p.Err())
	default:
	}
	if err != nil {
		_ = p.Kill()
	}
	return err
}

// ready asks for the process ID, because what answers on the port could be a stranger. A replica answers INFO while
// it loads, and so does a server that reads its append-only file: the PING after it says whether that is done.
func (m *process) ready(p *proc.Proc) error {
	pid, err := infoField(loopback(m.port), "server", "process_id")
	if err != nil {
		return err
	}
	if pid != strconv.Itoa(p.Pid()) {
		return fmt.Errorf("port %d belongs to process %s", m.port, pid)
	}
	_, err = do(loopback(m.port), commandTimeout, "PING")
	return err
}

func (m *process) stop(force bool) error {
	if force {
		return m.proc.Kill()
	}
	return m.proc.Stop()
}

func (m *process) freeze(on bool) error {
	if on {
		return m.proc.Signal(syscall.SIGSTOP)
	}
	return m.proc.Signal(syscall.SIGCONT)
}

func (m *process) discard() error {
	if err := m.proc.Kill(); err != nil {
		return err
	}
	return os.RemoveAll(m.dir)
}

func (m *process) describe() string {
	if m.proc == nil {
		return ""
	}
	return m.proc.Output()
}

var _ machine = (*process)(nil)
