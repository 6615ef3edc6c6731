package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// connectionOf returns the hub and the connection ID in the address.
func connectionOf(c echo.Context, s *Services) (hub, id string, err error) {
	if hub, err = hubOf(c); err != nil {
		return "", "", err
	}
	raw, err := pathPart(c, "connection")
	if err != nil {
		return "", "", err
	}
	id = s.Keyring.ConnectionID(raw)
	if id == "" || len(id) > streams.MaxIDBytes {
		return "", "", streams.ErrGone
	}
	return hub, id, nil
}

// connectionDetails is a connection as it is shown to backends.
type connectionDetails struct {
	ConnectionID string            `json:"connectionId"`
	User         string            `json:"user,omitempty"`
	Transport    streams.Transport `json:"transport,omitempty"`
	State        streams.State     `json:"state"`
	Node         string            `json:"node,omitempty"` // that serves it now, if one does
}

func detailsOf(r *streams.Record) connectionDetails {
	return connectionDetails{ConnectionID: r.ID, User: r.User, Transport: r.Transport, State: r.State, Node: r.Node()}
}

func showConnection(c echo.Context, s *Services) error {
	hub, id, err := connectionOf(c, s)
	if err != nil {
		return err
	}
	reply, err := s.Streams.Lookup(c.Request().Context(), hub, id)
	if err != nil {
		return err
	}
	if reply.Record.State == streams.StateClosing && forAzure(c) {
		return streams.ErrGone // Azure's answer says nothing but whether it exists, and it can be sent nothing more
	}
	return writeJSON(c, http.StatusOK, describe(c.Request().Context(), s.Streams, hub, &reply))
}

// connectionAnswer is all that backends are told of one connection.
type connectionAnswer struct {
	connectionRow
	Since    time.Time `json:"since"`
	Protocol string    `json:"protocol,omitempty"`
	// LagMs is the age of the oldest message that is buffered for it, ms; left out where nothing is buffered.
	LagMs *int64 `json:"lagMs,omitempty"`
}

func describe(ctx context.Context, node *streams.Node, hub string, reply *streams.OpenReply) connectionAnswer {
	r := &reply.Record
	answer := connectionAnswer{
		connectionRow: connectionRow{detailsOf(r), orNone(r.OpenGroups()), r.Stateful()}, Since: time.UnixMilli(r.Since).UTC(),
	}
	if !r.Start.IsZero() {
		answer.Protocol = hubprotocol.Protocol(r.Protocol).String()
	}
	if lag, known := node.Lag(ctx, hub, reply); known {
		ms := lag.Milliseconds()
		answer.LagMs = &ms
	}
	return answer
}

// maxReasonBytes limits the reason of a close, which its client is told.
const maxReasonBytes = 1024

// closeConnection closes a connection in order: its client is sent what came before, then the reason.
func closeConnection(c echo.Context, s *Services) error {
	hub, id, err := connectionOf(c, s)
	if err != nil {
		return err
	}
	azure := forAzure(c)
	reason, allowReconnect, err := closing(c, azure)
	if err != nil {
		return err
	}
	if _, err := s.Streams.CloseConnection(c.Request().Context(), hub, id, reason, allowReconnect); err != nil {
		return err
	}
	if azure && !isV1(c) {
		return c.NoContent(http.StatusOK)
	}
	return c.NoContent(http.StatusAccepted)
}

// pendingAnswer is what is buffered for a connection: the part of the hub's log after its cursor that is for it.
type pendingAnswer struct {
	connectionDetails
	// Buffered is false for a connection whose client cannot come back to it: nothing is kept for it.
	Buffered  bool             `json:"buffered"`
	Pending   []pendingMessage `json:"pending"`
	Truncated bool             `json:"truncated"` // there is more
}

type pendingMessage struct {
	Position string          `json:"position"`
	Message  json.RawMessage `json:"message"`
}

// Limits of one look at what is pending.
const (
	defaultPending = 100
	maxPending     = 1000
	// maxPendingBytes is about how much of the messages is shown: what comes first, whatever its size.
	maxPendingBytes = 4 << 20 // 4 MiB
)

func showPending(c echo.Context, s *Services) error {
	hub, id, err := connectionOf(c, s)
	if err != nil {
		return err
	}
	limit, given, err := queryInt(c, "limit", 1, maxPending)
	if err != nil {
		return err
	}
	if !given {
		limit = defaultPending
	}
	answer, err := pending(c.Request().Context(), s.Streams, hub, id, limit)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, answer)
}

func pending(ctx context.Context, node *streams.Node, hub, id string, limit int) (*pendingAnswer, error) {
	answer := &pendingAnswer{Pending: []pendingMessage{}}
	positions, size := []streams.Position{}, 0
	record, err := node.Pending(ctx, hub, id, func(item *streams.Item) bool {
		size += len(item.Body)
		answer.Truncated = len(positions) == limit || len(positions) > 0 && size > maxPendingBytes
		if !answer.Truncated {
			positions = append(positions, item.Position)
			answer.Pending = append(answer.Pending, pendingMessage{Message: pendingBody(&item.Entry)})
		}
		return !answer.Truncated
	})
	if err != nil {
		return nil, err
	}
	answer.connectionDetails = detailsOf(&record)
	answer.Buffered = record.Transport == streams.TransportLongPolling || record.Stateful()
	for i, at := range positions {
		answer.Pending[i].Position = streams.Receipt{Gen: record.Gen, Position: at}.String()
	}
	return answer, nil
}

// pendingBody is a hub message as it is shown: one that an upstream has written in MessagePack, in base64.
func pendingBody(e *streams.Entry) json.RawMessage {
	if e.Flags&streams.FlagHandshake == 0 && hubprotocol.Protocol(e.Protocol) == hubprotocol.MessagePack {
		text, _ := json.Marshal(e.Body) // cannot fail: bytes
		return text
	}
	return bytes.TrimSuffix(e.Body, []byte{hubprotocol.RecordSeparator})
}

// writeJSON answers with what is not sent often enough to be written by hand. Nothing of it may be kept by caches: it is
// out of date at once, and may hold a secret.
func writeJSON(c echo.Context, status int, value any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // messages are shown as they are sent
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode an answer: %w", err)
	}
	writeEncoded(c, status, bytes.TrimSuffix(body.Bytes(), []byte("\n")))
	return nil
}

func writeEncoded(c echo.Context, status int, body []byte) {
	header := c.Response().Header()
	header["Content-Type"] = jsonType
	header.Set("Cache-Control", "no-store")
	if len(body) > countedBytes {
		header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	c.Response().WriteHeader(status)
	_, _ = c.Response().Write(body) // if the caller has gone there is nobody to tell
}

// countedBytes is as much as net/http gives a Content-Length of its own accord; what is longer, as the answer to negotiate is for a user
// with a long name, it would send in chunks.
const countedBytes = 2048
