package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The image has the static binary and nothing else: it runs as nobody where there is no other file, without a shell, a
// library or a home. (The image itself cannot be built where there is no registry.)
func TestBinaryOfTheImageNeedsNothingElse(t *testing.T) {
	t.Parallel()
	dockerfile, err := os.ReadFile("../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"FROM scratch\n", "USER 65532:65532\n", "CGO_ENABLED=0 go build -trimpath -ldflags=-s\\ -w -o /hubstream ./cmd/api\n", "ENTRYPOINT [\"/hubstream\"]\n"} {
		if !strings.Contains(string(dockerfile), line) {
			t.Errorf("deploy/Dockerfile has no line %q: build and run as it does", line)
		}
	}
	root, err := os.MkdirTemp("", "image-") // t.TempDir's parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := buildStatic(t, "..", filepath.Join(root, "hubstream"))
	_ = startOnFreePort(t, func(address string) *exec.Cmd {
		command := exec.Command(binary, "-listen", address)
		command.Dir, command.Env = root, []string{}
		if os.Getuid() == 0 {
			command.Path, command.Dir = "/hubstream", "/"
			command.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		}
		return command
	})
}
