//go:build !linux

package transports

import "errors"

// aio is there on Linux only.
type aio struct{}

func newAIO() (*aio, error) { return nil, errors.ErrUnsupported }

func (a *aio) close() {}

func (a *aio) send([]pendingWrite) (int, error) { return 0, errors.ErrUnsupported }
