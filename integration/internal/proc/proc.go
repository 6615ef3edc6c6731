// Package proc runs the servers that tests need as child processes: each has a handle by which it is signalled and
// awaited, and none outlives the test binary, even when that is killed or panics.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// StopTimeout is how long Stop waits after SIGTERM before it kills.
const StopTimeout = 10 * time.Second

// Proc is one running or ended child process. All methods may be called concurrently.
type Proc struct {
	cmd    *exec.Cmd
	output *lockedBuffer
	done   chan struct{}
	err    error // set before done is closed
}

// Start runs cmd. Its standard error, and its standard output where the caller has not taken it, are kept for Output.
func Start(cmd *exec.Cmd) (*Proc, error) {
	p := &Proc{cmd: cmd, output: &lockedBuffer{}, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.output
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.output
	}
	dieWithParent(cmd)
	started := make(chan error)
	go func() {
		// The kernel's "die with the parent" means the thread that forked: keep that thread until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// Pid is the process ID.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Err is how the process ended: nil for exit code 0. It blocks until the end.
func (p *Proc) Err() error {
	<-p.done
	return p.err
}

// Output is what the process has printed so far.
func (p *Proc) Output() string { return p.output.String() }

// Signal sends sig; a process that has ended already is no error.
func (p *Proc) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Stop sends SIGTERM, kills after StopTimeout, and returns when the process has ended.
func (p *Proc) Stop() error {
	// A stopped (SIGSTOP) process would not see the SIGTERM.
	_ = p.Signal(syscall.SIGCONT)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(StopTimeout):
		_ = p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM:\n%s", p.cmd.Path, StopTimeout, p.Output())
	}
}

// Kill sends SIGKILL and returns when the process has ended.
func (p *Proc) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// outputLimit is how much of a child's output is kept: enough for any start-up failure.
const outputLimit = 1 << 20 // 1 MiB

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room := outputLimit - b.buf.Len(); room > 0 {
		b.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
