package node

import (
	"bytes"
	"context"
	"time"

	"hubstream/negotiate"
	"hubstream/streams"
)

// secretInterval is how often the nodes make sure that they have the same secret.
const secretInterval = time.Second

// shareSecret agrees with the other nodes on the secret, and goes on to until working ends.
func (n *node) shareSecret(ctx, working context.Context, s *services) (*negotiate.Keyring, error) {
	var shared []byte
	err := n.untilReached(ctx, func() (err error) {
		shared, err = s.streams.Secret(working, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	keyring, err := negotiate.NewKeyring(negotiate.Secret(shared))
	if err == nil {
		s.tasks.Go(func() { n.keepSecret(working, s.streams, keyring, shared) })
	}
	return keyring, err
}

// keepSecret has the nodes agree again when the store has lost the secret: each proposes the one it has, and takes the one that the store
// has then, which a node that has just started may have made. Until all have it a token that one has sealed is none to another.
func (n *node) keepSecret(ctx context.Context, node *streams.Node, keyring *negotiate.Keyring, held []byte) {
	ticker := time.NewTicker(secretInterval)
	defer ticker.Stop()
	told := false
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		shared, err := node.Secret(ctx, held)
		if err != nil || bytes.Equal(shared, held) { // readiness tells of a store that is away
			continue
		}
		// Connections that were begun with the earlier one may be there still.
		if err := keyring.Replace(negotiate.Secret(shared), negotiate.Secret(held)); err != nil {
			if !told {
				n.log.Error("the secret in the store cannot be used, the earlier one holds", "error", err)
			}
			told = true
			continue
		}
		held, told = shared, false
		n.log.Warn("the store has another secret than before: connection tokens are sealed with that from now on")
	}
}
