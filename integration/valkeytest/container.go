package valkeytest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"

	"hubstream/integration/internal/proc"
)

const (
	imageRepository = "valkey/valkey"
	imageTag        = "8"
	// Label marks the containers, so that those of a killed run can be found and removed.
	Label = "hubstream.valkeytest"
	// expireAfter is when the engine ends a container whose test binary was killed, in seconds.
	expireAfter = 900
	// engineTimeout bounds an engine's answer to a question; pulling the image may take longer.
	engineTimeout = 3 * time.Second
	pullTimeout   = 2 * time.Minute
)

func startContainer() (*Server, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, err
	}
	pool.Client.SetTimeout(engineTimeout)
	if err := pool.Client.Ping(); err != nil {
		return nil, firstLine(err)
	}
	if os.Getenv("CI") != "" { // there is no registry there: do not even try to pull
		if _, err := pool.Client.InspectImage(imageRepository + ":" + imageTag); err != nil {
			return nil, err
		}
	}
	pool.Client.SetTimeout(pullTimeout)
	for try := 1; ; try++ {
		s, err := runContainer(pool)
		if err == nil || try == startTries {
			return s, err
		}
	}
}

func runContainer(pool *dockertest.Pool) (*Server, error) {
	port, err := proc.FreePort() // fixed, because the engine would choose another one at the next start
	if err != nil {
		return nil, err
	}
	resource, err := pool.RunWithOptions(&dockertest.RunOptions{
		Repository: imageRepository,
		Tag:        imageTag,
		Cmd:        []string{"--save", "", "--appendonly", "no", "--protected-mode", "no"},
		Labels:     map[string]string{Label: "1"},
	}, func(h *docker.HostConfig) {
		h.PublishAllPorts = false
		h.PortBindings = map[docker.Port][]docker.PortBinding{"6379/tcp": {{HostIP: "127.0.0.1", HostPort: strconv.Itoa(port)}}}
	})
	if err != nil {
		return nil, firstLine(err)
	}
	_ = resource.Expire(expireAfter) // always nil: it asks in the background
	m := &container{pool: pool, resource: resource, addr: loopback(port)}
	if err := m.ready(); err != nil {
		_ = m.discard()
		return nil, err
	}
	return &Server{Addr: m.addr, machine: m}, nil
}

// container is a Valkey in the local Docker engine.
type container struct {
	pool     *dockertest.Pool
	resource *dockertest.Resource
	addr     string
}

func (m *container) id() string { return m.resource.Container.ID }

func (m *container) ready() error {
	return eventually(readyTimeout, func() error {
		_, err := do(m.addr, time.Second, "PING")
		return err
	})
}

func (m *container) start() error {
	if err := m.pool.Client.StartContainer(m.id(), nil); err != nil {
		return err
	}
	return m.ready()
}

func (m *container) stop(force bool) error {
	signal := docker.Signal(syscall.SIGTERM)
	if force {
		signal = docker.Signal(syscall.SIGKILL)
	}
	err := m.pool.Client.KillContainer(docker.KillContainerOptions{ID: m.id(), Signal: signal})
	var stopped *docker.ContainerNotRunning
	if errors.As(err, &stopped) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = m.pool.Client.WaitContainer(m.id())
	return err
}

// freeze signals the process itself: an engine's own pause may be refused its end ("cannot resume a running process") where the
// machine is busy.
func (m *container) freeze(on bool) error {
	signal := docker.Signal(syscall.SIGCONT)
	if on {
		signal = docker.Signal(syscall.SIGSTOP)
	}
	return m.pool.Client.KillContainer(docker.KillContainerOptions{ID: m.id(), Signal: signal})
}

func (m *container) discard() error { return m.pool.Purge(m.resource) }

func (m *container) describe() string {
	var log bytes.Buffer
	err := m.pool.Client.Logs(docker.LogsOptions{Container: m.id(), OutputStream: &log, ErrorStream: &log, Stdout: true, Stderr: true})
	if err != nil {
		return fmt.Sprintf("no log: %v", err)
	}
	return log.String()
}

// firstLine keeps what an engine that is not there has to say to one line.
func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

var _ machine = (*container)(nil)
