package transports

import "hubstream/streams"

// Tracer records what becomes of messages that have a trace context. Its methods must not wait.
type Tracer interface {
	// Wants tells whether a write of a message to one more connection is to be recorded: then Wrote tells of it.
	Wants(i *streams.Item) bool
	// Wrote tells that the message has been written, or could not be.
	Wrote(i *streams.Item, to Write, failed bool)
}

// Write says where a write goes.
type Write struct {
	Hub, ConnectionID string
	// Transport is TransportNone of plain event streams, which have no ConnectionID either.
	Transport streams.Transport
}

// told is what a tracer is to be told of when it has been written.
type told struct {
	tracer Tracer
	items  []*streams.Item
}

// traced returns nil if nothing of the batch is to be recorded.
func (b *batch) traced() *told {
	if len(b.joined.Traced) == 0 {
		return nil
	}
	return wanted(b.tracer, b.joined.Traced)
}

func wanted(tracer Tracer, items []*streams.Item) *told {
	if tracer == nil {
		return nil
	}
	var t *told
	for _, item := range items {
		if item.Trace() == "" || !tracer.Wants(item) {
			continue
		}
		if t == nil {
			t = &told{tracer: tracer}
		}
		t.items = append(t.items, item)
	}
	return t
}

// wrote may be called on nil.
func (t *told) wrote(to Write, failed bool) {
	if t == nil {
		return
	}
	for _, item := range t.items {
		t.tracer.Wrote(item, to, failed)
	}
}

// writeTraced writes b, however long it takes, tells of it, and writes whatever there is after it.
func (o *outlet) writeTraced(b []byte, told *told) {
	err := o.write(b)
	told.wrote(o.origin.describe(), err != nil)
	if err != nil {
		o.state.Store(idle)
		return
	}
	o.origin.flush()
}

// writeJoined writes what a batch has, and tells of what is to be recorded.
func (o *outlet) writeJoined(b *batch, out []byte) error {
	told := b.traced()
	err := o.write(out)
	told.wrote(o.origin.describe(), err != nil)
	return err
}
