//go:build !linux

package transports

// refuse makes the kernel refuse all calls until undone.
func (r *round) refuse() (undo func()) { return func() {} }
