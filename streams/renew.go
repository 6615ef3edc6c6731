package streams

import (
	"context"
	"math"
	"strconv"
	"time"
)

// Renew tells the node that serves a connection, whichever it is, that the connection may stay until then: its client has shown
// a newer access token. The zero time means for ever. It travels as a control entry, which nodes of a version before take for one that
// changes nothing. It is for attachments that are there: a later one comes with a token of its own.
func (n *Node) Renew(ctx context.Context, hubName, id string, until time.Time) error {
	ms := int64(math.MaxInt64)
	if !until.IsZero() {
		ms = until.UnixMilli()
	}
	_, err := n.Publish(ctx, hubName, &Entry{
		Kind: KindControl, Verb: VerbRenew, Connections: []string{id}, Named: []string{strconv.FormatInt(ms, 10)},
	})
	return err
}

// Renewed is until when a Renew lets the connection stay, in milliseconds since 1970; 0 if there was none.
func (a *Attachment) Renewed() int64 { return a.renewed.Load() }

// renew takes a VerbRenew entry. What was allowed already is not taken back.
func (a *Attachment) renew(named []string) {
	if len(named) != 1 {
		return
	}
	until, err := strconv.ParseInt(named[0], 10, 64)
	if err == nil && until > a.renewed.Load() {
		a.renewed.Store(until) // one at a time, who follows the log, calls this
	}
}
