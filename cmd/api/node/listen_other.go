//go:build !linux

package node

import (
	"context"
	"net"
)

// listen listens for clients.
func listen(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}
