package handlers

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// Azure's SDKs tell from this header, and not from the body, what was not found; without it they take the endpoint to be away.
const (
	errorCodeHeader = "X-Ms-Error-Code"
	warnConnection  = "Warning.Connection.NotExisted"
	errorConnection = "Error.Connection.NotExisted"
)

// withErrorCode names in Azure's way what the operation did not find.
func withErrorCode(name string, serve func(echo.Context, *Services) error) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		err := serve(c, s)
		if errors.Is(err, streams.ErrGone) {
			c.Response().Header().Set(errorCodeHeader, name)
		}
		return err
	}
}

// tolerant answers a leave of a connection that is gone as done, if Azure's API was asked: its SDKs throw on anything else.
func tolerant(serve func(echo.Context, *Services) error) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		err := serve(c, s)
		if errors.Is(err, streams.ErrGone) && forAzure(c) {
			return writeJSON(c, http.StatusOK, membershipAnswer{})
		}
		return err
	}
}

// forAzure tells whether Azure's API was asked where the path is ours, too.
func forAzure(c echo.Context) bool {
	return c.QueryParams().Has("api-version") || isV1(c)
}

func isV1(c echo.Context) bool {
	return strings.HasPrefix(c.Path(), "/api/v1/")
}

// leaveAll removes a connection from all its groups.
func leaveAll(c echo.Context, s *Services) error {
	hub, id, err := connectionOf(c, s)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	reply, err := s.Streams.Join(ctx, hub, id, streams.VerbLeaveAll)
	if errors.Is(err, streams.ErrGone) {
		return writeJSON(c, http.StatusOK, membershipAnswer{}) // it is in no group, as was asked for
	}
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, membershipOf(ctx, s, hub, reply))
}

// sendTo publishes one message for the audience in the address.
func (h *Handler) sendTo(to target) func(echo.Context, *Services) error {
	return func(c echo.Context, s *Services) error {
		hub, err := hubOf(c)
		if err != nil {
			return err
		}
		binary, err := isBinary(c.Request().Header)
		if err != nil {
			return err
		}
		w := sendWorks.Get().(*sendWork)
		defer w.release()
		w.entry = streams.Entry{Kind: streams.KindMessage}
		if err := addressed(c, s, to, &w.entry); err != nil {
			return err
		}
		if err := w.read(c, &h.bodies, h.maxSendBytes); err != nil {
			return err
		}
		w.body.reset(nil)
		if binary {
			err = w.readBinary()
		} else {
			err = w.readMessage("")
		}
		if err != nil {
			return err
		}
		return w.publish(c, s, hub, true)
	}
}

// readMessage takes the body of a send whose audience is in the address, or of a call with an ID that a client is to answer. Azure's API has names of fields in any case, and
// ignores unknown ones; the arguments are passed through as written.
func (w *sendWork) readMessage(callID string) error {
	if !utf8.Valid(w.raw) {
		return malformed("the body is not valid UTF-8")
	}
	var message *struct {
		Target    *string
		Arguments json.RawMessage
	}
	if err := json.Unmarshal(w.raw, &message); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return invalid("target", "must be a string") // arguments may be anything here
		}
		return malformed("the body must be a JSON object with target and arguments")
	}
	switch {
	case message == nil:
		return malformed("the body must be a JSON object with target and arguments")
	case message.Target == nil || *message.Target == "":
		return invalid("target", "is missing")
	case len(*message.Target) > streams.MaxIDBytes:
		return invalid("target", overLimit(len(*message.Target)))
	}
	arguments := []byte(message.Arguments)
	if len(arguments) == 0 || string(arguments) == "null" {
		arguments = noArguments
	}
	var err error
	if w.message, err = hubprotocol.AppendInvocationWithID(w.message[:0], callID, *message.Target, arguments); err != nil {
		return refuseMessage(err)
	}
	w.entry.Body = w.message
	return nil
}
