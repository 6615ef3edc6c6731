package handlers

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"github.com/tinylib/msgp/msgp"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// maxStreamID limits the ID of a client's stream, in characters, as Azure does.
const maxStreamID = 100

// sendItem sends an item of a stream that one connection's client has invoked and that nobody has completed, and with completed
// its end. Like any send it is accepted for a connection that is not there; a client drops an item of a stream that it does not wait for.
func (h *Handler) sendItem(c echo.Context, s *Services) error {
	hub, end, err := streamOf(c, s)
	if err != nil {
		return err
	}
	completed, err := queryBool(c, "completed")
	if err != nil {
		return err
	}
	binary, err := isBinary(c.Request().Header)
	if err != nil {
		return err
	}
	w := sendWorks.Get().(*sendWork)
	defer w.release()
	if err := w.read(c, &h.bodies, h.maxSendBytes); err != nil {
		return err
	}
	w.body.reset(nil)
	w.entry = end.entry("")
	if err := w.readItem(end.stream, binary); err != nil {
		return err
	}
	if !completed {
		return w.publish(c, s, hub, true)
	}
	key, err := w.key(c.Request().Header)
	if err != nil {
		return err
	}
	ctx, last := c.Request().Context(), end.entry("")
	_, replayed, err := w.append(ctx, s, hub, key, true)
	if err != nil {
		return err // and the stream goes on
	}
	receipt, err := s.Streams.Publish(ctx, hub, &last)
	if err != nil {
		return fmt.Errorf("%w: the item was sent, and not the end: %v", streams.ErrOutcomeUnknown, err)
	}
	return w.accepted(c, receipt, replayed)
}

// completeStream ends a client's stream, with an error if there is a reason.
func completeStream(c echo.Context, s *Services) error {
	hub, end, err := streamOf(c, s)
	if err != nil {
		return err
	}
	reason := c.QueryParam("reason")
	if reason == "" {
		reason = c.QueryParam("error") // Azure's SDK
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	w := sendWorks.Get().(*sendWork)
	defer w.release()
	w.body.reset(nil)
	w.entry = end.entry(reason)
	return w.publish(c, s, hub, true)
}

// clientStream is the stream that an address names.
type clientStream struct{ connection, stream string }

func streamOf(c echo.Context, s *Services) (hub string, of clientStream, err error) {
	if hub, err = hubOf(c); err != nil {
		return "", of, err
	}
	var e streams.Entry
	if err := addressed(c, s, targetConnection, &e); err != nil {
		return "", of, err
	}
	of.connection = e.Connections[0]
	if of.stream, err = pathPart(c, "stream"); err != nil {
		return "", of, err
	}
	if strings.TrimSpace(of.stream) == "" || utf8.RuneCountInString(of.stream) > maxStreamID {
		return "", of, invalid("stream", fmt.Sprintf("must have 1 to %d characters, and not be blank", maxStreamID))
	}
	return hub, of, nil
}

// entry is the end of the stream.
func (of clientStream) entry(reason string) streams.Entry {
	e := streams.Entry{Kind: streams.KindMessage, Connections: []string{of.connection}}
	if reason == "" {
		e.Body = hubprotocol.AppendCompletionVoid(nil, hubprotocol.JSON, of.stream)
	} else {
		e.Body = hubprotocol.AppendCompletionError(nil, hubprotocol.JSON, of.stream, reason)
	}
	return e
}

// readItem makes the body the entry's: one JSON value, or as Azure's SDKs write it a map from names of protocols to whole stream items
// in them.
func (w *sendWork) readItem(stream string, binary bool) (err error) {
	item := w.raw
	if binary {
		if item, err = binaryItem(w.raw, stream); err != nil {
			return err
		}
	}
	if w.message, err = hubprotocol.AppendStreamItem(w.message[:0], stream, item); err != nil {
		return refuseMessage(err)
	}
	w.entry.Body = w.message
	return nil
}

// binaryItem returns the item of such a map, as JSON.
func binaryItem(raw []byte, stream string) ([]byte, error) {
	fields, err := mapOf(raw)
	if err != nil {
		return nil, err
	}
	p, field := hubprotocol.JSON, "json"
	if fields[field] == nil {
		p, field = hubprotocol.MessagePack, "messagepack"
	}
	framed, _, err := msgp.ReadBytesZC(fields[field])
	if err != nil {
		return nil, invalid(field, "is missing, or not binary")
	}
	m, err := wholeMessage(framed, p, field)
	switch {
	case err != nil:
		return nil, err
	case m.Type != hubprotocol.StreamItem || m.InvocationID != stream:
		return nil, invalid(field, "must be an item of the stream that the address names")
	case p == hubprotocol.JSON:
		return m.Item, nil
	}
	item, err := hubprotocol.AppendJSON(nil, m.Item)
	if err != nil {
		return nil, invalid("item", "cannot be sent: "+err.Error())
	}
	return item, nil
}

// queryBool reads a parameter that is true or false; left out it is false.
func queryBool(c echo.Context, name string) (bool, error) {
	raw := c.QueryParam(name)
	if raw == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(raw)
	if err != nil {
		return false, invalid(name, "must be true or false")
	}
	return value, nil
}
