//go:build !linux

package proc

import "os/exec"

// dieWithParent is Linux only: elsewhere a child may outlive a killed test binary.
func dieWithParent(*exec.Cmd) {}
