package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// code says to a program what a refusal is.
type code string

const (
	codeInvalid          code = "invalid"
	codeTooLarge         code = "too_large"
	codeMediaType        code = "unsupported_media_type"
	codeNotFound         code = "not_found"
	codeMethodNotAllowed code = "method_not_allowed"
	codeTimeout          code = "timeout"
	codeOrigin           code = "origin_not_allowed"
	codeUnauthorized     code = "unauthorized"
	codeTokenInvalid     code = "token_invalid"
	codeTokenExpired     code = "token_expired"
	codeTokenNotYetValid code = "token_not_yet_valid"
	codeTokenAudience    code = "token_audience"
	codeForbidden        code = "forbidden"
	codeRateLimited      code = "rate_limited"

	codeTooManyConnections code = "too_many_connections"
	codeTooManyGroups      code = "too_many_groups"
	codeGap                code = "gap"
	codeKeyReused          code = "key_reused"
	codeUnavailable        code = "unavailable"
	codeFull               code = "full"
	codeNoKeys             code = "no_access_keys"
	codeInternal           code = "internal"
	codeClientError        code = "client_error"
	codeClientTimeout      code = "client_timeout"
)

// refusal is an answer that says no, in the API's form on all paths, which is Azure's ErrorDetail:
//
//	{"code":"invalid","message":"groups[2] must be a string","target":"groups[2]"}
type refusal struct {
	status  int
	retryIn time.Duration // repeating the request after that time is safe and may help; 0: it does not

	Code    code   `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"`
	Outcome string `json:"outcome,omitempty"`
}

func (r *refusal) Error() string { return r.Message }

// invalid refuses a request for one of its fields; reason follows the field's name.
func invalid(field, reason string) *refusal {
	return &refusal{status: http.StatusBadRequest, Code: codeInvalid, Message: field + " " + reason, Target: field}
}

// malformed refuses a request that has no fields to speak of.
func malformed(message string) *refusal {
	return &refusal{status: http.StatusBadRequest, Code: codeInvalid, Message: message}
}

func tooLarge(message string) *refusal {
	return &refusal{status: http.StatusRequestEntityTooLarge, Code: codeTooLarge, Message: message}
}

var (
	errStarting = &refusal{
		status: http.StatusServiceUnavailable, retryIn: time.Second, Code: codeUnavailable, Message: "the node is starting",
	}
	errAdmin = &refusal{
		status: http.StatusUnauthorized, Code: codeUnauthorized, Message: "an admin key is needed",
	}
	errOrigin = &refusal{status: http.StatusForbidden, Code: codeOrigin, Message: "the origin is not allowed"}
)

// panicError is a programmer's error that one request has met.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// refusalFor decides what the caller is told of err. Callers see a short text, operators
// the chain.
func refusalFor(err error) *refusal {
	var refused *refusal
	var routing *echo.HTTPError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &routing):
		return refusalForRouting(routing)
	case errors.Is(err, streams.ErrGone):
		return &refusal{status: http.StatusNotFound, Code: codeNotFound, Message: "there is no such connection"}
	case errors.Is(err, streams.ErrTooManyGroups):
		return &refusal{status: http.StatusConflict, Code: codeTooManyGroups,
			Message: fmt.Sprintf("the connection, or the user, is in %d groups, which is the limit", streams.MaxGroups)}
	case errors.Is(err, streams.ErrGap):
		return &refusal{status: http.StatusGone, Code: codeGap,
			Message: "messages that the connection had not received are no longer kept"}
	case errors.Is(err, streams.ErrKeyReused):
		return &refusal{status: http.StatusUnprocessableEntity, Code: codeKeyReused, Target: keyHeader,
			Message: "the idempotency key was used with another body"}
	case errors.Is(err, streams.ErrTooLarge):
		return tooLarge(fmt.Sprintf("the message and its audience exceed %d bytes together", streams.MaxEntryBytes))
	case errors.Is(err, streams.ErrLogFull):
		return &refusal{status: http.StatusServiceUnavailable, Code: codeFull,
			Message: "the hub's log is at its limit (-retention-bytes); nothing was sent"}
	case errors.Is(err, streams.ErrFull):
		return &refusal{status: http.StatusServiceUnavailable, Code: codeFull,
			Message: "Valkey is at its limit (maxmemory); nothing was sent"}
	case errors.Is(err, streams.ErrOutcomeUnknown):
		return &refusal{status: http.StatusServiceUnavailable, Code: codeUnavailable, Outcome: "unknown",
			Message: "the store's answer was lost; the message may have been sent, so that repeating it may send it twice"}
	case errors.Is(err, streams.ErrUnavailable):
		return &refusal{status: http.StatusServiceUnavailable, retryIn: time.Second, Code: codeUnavailable,
			Message: "the store is not reachable; nothing was changed"}
	}
	if refused := refusalForToken(err); refused != nil {
		return refused
	}
	return &refusal{status: http.StatusInternalServerError, Code: codeInternal, Message: "internal error"}
}

func refusalForRouting(err *echo.HTTPError) *refusal {
	switch err.Code {
	case http.StatusNotFound:
		return &refusal{status: err.Code, Code: codeNotFound, Message: "there is nothing at this address"}
	case http.StatusMethodNotAllowed:
		return &refusal{status: err.Code, Code: codeMethodNotAllowed, Message: "the method is not allowed here"}
	default:
		return &refusal{status: err.Code, Code: codeInternal, Message: strings.ToLower(http.StatusText(err.Code))}
	}
}

// answerError is echo's HTTPErrorHandler: the one place where errors become statuses.
func (h *Handler) answerError(err error, c echo.Context) {
	refused := refusalFor(err)
	if !hasLeft(c.Request().Context(), refused) {
		h.count(refused.Code)
		if refused.status == http.StatusInternalServerError {
			h.log.Error("request failed", "method", c.Request().Method, "route", c.Path(), "error", err)
		}
	}
	if c.Response().Committed {
		panic(http.ErrAbortHandler) // cut off what was begun, or the caller takes it for whole
	}
	if refused.status >= http.StatusInternalServerError && needOf(c.Path()) == needClient && wantsEvents(c.Request()) {
		// Node's EventSource would ask again every second, with the same ID, long after its client has given that up.
		refused = &refusal{status: http.StatusNotFound, Code: refused.Code, Message: refused.Message}
	}
	if comesBack(c) && (refused.status >= http.StatusInternalServerError || refused.status == http.StatusTooManyRequests) {
		askAgain(c.Response(), refused)
		return
	}
	answerRefusal(c.Response(), c.Request(), refused)
}

// hasLeft tells whether a request failed because its caller has gone, which is no fault of the node's or the store's. Nobody reads the answer.
func hasLeft(ctx context.Context, refused *refusal) bool {
	return refused.status >= http.StatusInternalServerError && errors.Is(ctx.Err(), context.Canceled)
}

func answerRefusal(w http.ResponseWriter, r *http.Request, refused *refusal) {
	header := w.Header()
	if refused.retryIn > 0 {
		header.Set("Retry-After", retryAfter(refused.retryIn))
	}
	if refused.status == http.StatusRequestEntityTooLarge {
		header.Set("Connection", "close") // the rest of the body is not worth reading
	}
	if refused.status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", refused.challenge())
	}
	header.Set("Cache-Control", "no-store")
	if !isAPI(r) {
		header.Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(refused.status)
		_, _ = w.Write([]byte(refused.Message))
		return
	}
	if header.Get(errorCodeHeader) == "" {
		header.Set(errorCodeHeader, string(refused.Code))
	}
	body, _ := json.Marshal(refused) // cannot fail: strings
	header["Content-Type"] = jsonType
	w.WriteHeader(refused.status)
	_, _ = w.Write(body)
}

// isAPI tells whether the caller is a backend.
func isAPI(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/console/api/")
}

// jsonType is a Content-Type that costs no allocation to set.
var jsonType = []string{"application/json"}
