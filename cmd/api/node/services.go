package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hubstream/handlers"
	"hubstream/internal/reasons"
	"hubstream/negotiate"
	"hubstream/streams"
	"hubstream/transports"
	"hubstream/web"
)

// services is what a node has when it has reached its store.
type services struct {
	store       streams.Store
	streams     *streams.Node
	stopStreams context.CancelFunc
	transports  *transports.Server
	forHandlers handlers.Services
	feed        *web.Feed
	tasks       sync.WaitGroup // that go on until stopStreams
}

// close ends what is left when the connections are drained.
func (s *services) close() {
	s.stopStreams()
	s.tasks.Wait() // the feed tells that the node has stopped
	s.streams.Wait()
	_ = s.store.Close() // there is nothing left to lose
}

// opening is how an attempt to open the services ended.
type opening struct {
	services *services
	err      error
}

// open opens the services, for as long as it takes to reach the store; the channel has the result, one in any case.
func (n *node) open(ctx context.Context) <-chan opening {
	result := make(chan opening, 1)
	go func() {
		s, err := n.openServices(ctx)
		result <- opening{s, err}
	}()
	return result
}

// lateServices returns the services when the node shall end: those that are opened, or that have just been.
func (n *node) lateServices(s *services, opened <-chan opening) *services {
	if s == nil && opened != nil {
		s = (<-opened).services
	}
	return s
}

func (n *node) openServices(ctx context.Context) (_ *services, err error) {
	store, pace, err := n.openStore(ctx)
	if err != nil {
		return nil, err
	}
	// The node's work goes on while its connections are drained.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &services{store: store, stopStreams: stop, streams: streams.NewNode(store, streams.Config{
		Name: n.cfg.Node, Retention: n.cfg.Retention, RetentionBytes: n.cfg.RetentionBytes, WindowBytes: int(n.cfg.WindowBytes), NodeWindowBytes: n.cfg.NodeWindowBytes,
		LossSpread: n.cfg.LossSpread,
		Tombstone:  max(2*time.Minute, n.cfg.ConnectDeadline+time.Minute), Pace: pace, Traced: n.tracerOfReads(), Logger: n.log,
	})}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	keyring, err := n.contact(ctx, working, s)
	if err != nil {
		return nil, err
	}
	negotiator, err := negotiate.New(negotiate.Config{
		Keyring: keyring, Now: s.streams.Now, Transports: n.cfg.Transports,
		StatefulReconnect: n.cfg.StatefulReconnect, ConnectDeadline: n.cfg.ConnectDeadline,
	})
	if err != nil {
		return nil, err
	}
	cfg := transports.Config{
		Transports: n.cfg.Transports, StatefulReconnect: n.cfg.StatefulReconnect, PollTimeout: n.cfg.PollTimeout,
		HandshakeTimeout: n.cfg.HandshakeTimeout, KeepAlive: n.cfg.KeepAlive, ClientTimeout: n.cfg.ClientTimeout,
		MaxUserConnections: n.cfg.MaxUserConnections, MaxAddressConnections: n.cfg.MaxAddressConnections, MessageRate: n.cfg.MessageRate,
		MaxMessageBytes: int(n.cfg.MaxMessageBytes), StreamIdle: n.cfg.StreamIdle, Rights: n.cfg.Rights, NoAIO: !n.cfg.AIO, Tracer: n.tracerOfWrites(), Logger: n.log, // origins are the handlers' to check
	}
	if n.upstream != nil {
		cfg.Upstream, cfg.Authorize = n.upstream, n.cfg.UpstreamAuthorize
	}
	s.transports = transports.NewServer(s.streams, keyring, cfg)
	s.feed = n.newFeed(s)
	s.tasks.Go(func() { s.feed.Run(working) })
	s.forHandlers = handlers.Services{Streams: s.streams, Hubs: s.transports, Negotiator: negotiator, Keyring: keyring, Tracer: n.tracerOfSends()}
	if n.cfg.StatefulReconnect {
		s.forHandlers.StatefulAddress = n.cfg.StatefulAddress
	}
	return s, nil
}

// valkeyPace is the pause of each node between two reads of a bucket's tail: it bounds what many nodes' reads cost
// Valkey, for a tenth of a millisecond of delay.
const valkeyPace = 100 * time.Microsecond

func (n *node) openStore(ctx context.Context) (_ streams.Store, pace time.Duration, err error) {
	if len(n.cfg.Valkey) == 0 {
		return streams.NewMemory(streams.MemoryConfig{}), 0, nil
	}
	cfg, err := n.cfg.valkey()
	if err != nil {
		return nil, 0, err
	}
	cfg.Logger, cfg.Waiting = n.log, n.newWaiting()
	store, err := streams.NewValkey(ctx, cfg)
	if err != nil {
		return nil, 0, fmt.Errorf("-valkey: %w", err)
	}
	return store, valkeyPace, nil
}

// contact starts the node's work, and agrees with the other nodes on the secret.
func (n *node) contact(ctx, working context.Context, s *services) (*negotiate.Keyring, error) {
	if err := n.untilReached(ctx, func() error { return s.streams.Start(working) }); err != nil {
		return nil, err
	}
	if n.cfg.Secret != "" {
		return negotiate.NewKeyring(n.cfg.Secret)
	}
	return n.shareSecret(ctx, working, s)
}

// newWaiting makes what tells operators why the store cannot be used yet: by /readyz, and in the log each reason once. Attempts may fail in
// several ways in turn, ten times a second.
func (n *node) newWaiting() func(error) {
	var told reasons.Told
	return func(err error) {
		reason, fresh := told.Add(err)
		n.handler.Unready(reason)
		if fresh {
			n.log.Warn("waiting for the store", "error", reason)
		}
	}
}

// contactPause is the time between attempts to use a store that is not fit for use.
const contactPause = 500 * time.Millisecond

// untilReached repeats f until it succeeds or ctx ends: a node that waits for its store needs nobody to start it again.
func (n *node) untilReached(ctx context.Context, f func() error) error {
	waiting := n.newWaiting()
	for {
		err := f()
		if err == nil {
			return nil
		}
		waiting(err)
		select {
		case <-time.After(contactPause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
