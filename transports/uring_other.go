//go:build !linux

package transports

import "errors"

// uring is there on Linux only.
type uring struct{}

func newUring() (*uring, error) { return nil, errors.ErrUnsupported }

func (u *uring) close() {}

func (u *uring) send([]pendingWrite) (int, error) { return 0, errors.ErrUnsupported }
