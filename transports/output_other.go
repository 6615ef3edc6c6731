//go:build !unix

package transports

import (
	"errors"
	"net"
)

// descriptor returns -1: each connection is written to by a goroutine of its own.
func descriptor(net.Conn) int { return -1 }

// writeReady is never called where no connection has a descriptor.
func writeReady(int, []byte) (int, error) { return 0, errors.ErrUnsupported }
