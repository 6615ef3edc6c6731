package handlers

import (
	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// ParsedSend is what a send's body says.
type ParsedSend struct {
	Target    string
	Arguments []byte
	Lists     map[string][]string
	All       bool
}

// ParseSend takes a send's body apart.
func ParseSend(src []byte) (ParsedSend, error) {
	var w sendWork
	if err := w.body.parse(src); err != nil {
		return ParsedSend{}, err
	}
	p := ParsedSend{Target: w.body.target, Arguments: w.body.arguments, Lists: map[string][]string{}, All: w.body.toAll()}
	for f := range fieldTarget {
		if w.body.has(f) {
			p.Lists[f.String()] = append([]string{}, w.body.lists[f]...)
		}
	}
	return p, nil
}

// SendBuilder builds entries from bodies, again and again in the same memory.
type SendBuilder struct{ work sendWork }

// Build makes the entry of a body without connection tokens.
func (b *SendBuilder) Build(src []byte) (*streams.Entry, error) {
	b.work.raw = append(b.work.raw[:0], src...)
	err := b.work.build(nil)
	return &b.work.entry, err
}

// Routes are all that there are.
func (h *Handler) Routes() []*echo.Route { return h.echo.Routes() }

// SplitArray is how the body of a batch is taken apart.
var SplitArray = splitArray
