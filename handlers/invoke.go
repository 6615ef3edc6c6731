package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// maxInvoke is how long a backend may wait for a client's answer, and does unless it says otherwise.
const maxInvoke = time.Minute

// invocationFailed is how Azure's API names an error of the client's.
const invocationFailed = "Error.Client.InvocationFailed"

// invoke calls a method of one connection's client and waits for its answer, on whichever node either is. What the client
// answers with an error, not in time, or not at all because it has gone, are three different answers.
func (h *Handler) invoke(c echo.Context, s *Services) error {
	hub, id, err := connectionOf(c, s)
	if err != nil {
		return err
	}
	if err := checkContentType(c.Request().Header); err != nil {
		return err
	}
	limit, err := invokeTime(c)
	if err != nil {
		return err
	}
	w := sendWorks.Get().(*sendWork)
	defer w.release()
	if err := w.read(c, &h.bodies, h.maxSendBytes); err != nil {
		return err
	}
	w.body.reset(nil)
	ctx, cancel := context.WithTimeout(c.Request().Context(), limit)
	defer cancel()
	answer, err := s.Streams.Call(ctx, hub, id, func(callID string) (*streams.Entry, error) {
		w.entry = streams.Entry{Kind: streams.KindMessage, Connections: []string{id}}
		return &w.entry, w.readMessage(callID)
	})
	switch {
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded): // not if it is a step of the store that took too long
		return &refusal{status: http.StatusGatewayTimeout, Code: codeClientTimeout,
			Message: fmt.Sprintf("the client did not answer within %v", limit)}
	case err != nil:
		return err
	}
	return writeResult(c, answer)
}

// invokeTime is how long to wait: the query's timeout, such as 5s.
func invokeTime(c echo.Context) (time.Duration, error) {
	raw := c.QueryParam("timeout")
	if raw == "" {
		return maxInvoke, nil
	}
	limit, err := time.ParseDuration(raw)
	if err != nil || limit <= 0 || limit > maxInvoke {
		return 0, invalid("timeout", fmt.Sprintf("must be a duration such as 5s, up to %v", maxInvoke))
	}
	return limit, nil
}

// writeResult answers with what the client has.
func writeResult(c echo.Context, answer *streams.Entry) error {
	p := hubprotocol.JSON
	if hubprotocol.Protocol(answer.Protocol) == hubprotocol.MessagePack {
		p = hubprotocol.MessagePack
	}
	m, err := hubprotocol.ParseCompletion(p, answer.Body)
	if err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	var result json.RawMessage
	if err == nil && m.HasResult {
		if result, err = hubprotocol.ToJSON(p, m.Result); err != nil {
			err = fmt.Errorf("the client's result cannot be sent: %w", err)
		}
	}
	if err != nil {
		c.Response().Header().Set(errorCodeHeader, invocationFailed)
		return &refusal{status: http.StatusBadRequest, Code: codeClientError, Message: err.Error()}
	}
	if !m.HasResult {
		return writeJSON(c, http.StatusOK, struct{}{})
	}
	return writeJSON(c, http.StatusOK, map[string]json.RawMessage{"result": result})
}
