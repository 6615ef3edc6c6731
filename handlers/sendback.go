package handlers

import (
	"net/http"

	"hubstream/negotiate/access"
)

// tokenRefused is what a client is told whose connection is closed for that.
const tokenRefused = "The access token of the connection is not accepted any more."

// maxPing is the length of a Ping, and of a client's Close: no message that asks for something is as short.
const maxPing = int64(len(`{"type":6}`) + 1)

// sendBack closes the connection of a JavaScript client that posts something with a token that has expired, or whose key was taken away. With an event stream, or long
// polling, it shows the token that it negotiated with for as long as the connection lasts, and does not take the refusal of a POST for the
// connection's end: each of its calls would fail from then on. Closed, it comes back with a token of its factory. Other clients ask
// for a new token themselves when they are refused. One that only listens is left alone.
func (h *Handler) sendBack(r *http.Request, hub string, who *access.Identity) {
	s := h.services.Load()
	if s == nil || r.Method != http.MethodPost || r.ContentLength <= maxPing || scriptVersion(r.Header) == 0 {
		return
	}
	token, err := s.Keyring.Open(r.URL.Query().Get("id"))
	if err != nil || token.Hub != hub || token.User != who.User {
		return
	}
	if _, err := s.Streams.CloseConnection(r.Context(), hub, token.ConnectionID, tokenRefused, true); err != nil {
		h.log.Debug("connection not closed", "hub", hub, "connection_id", token.ConnectionID, "error", err)
	}
}
