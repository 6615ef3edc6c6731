package handlers

import (
	"net/http"
	"sync/atomic"

	"github.com/labstack/echo/v4"
)

// Console is the page that people watch the node with, and its rules for who may.
type Console interface {
	http.Handler
	// Allowed tells whether a request may see the console's data.
	Allowed(r *http.Request) bool
	// Payloads tells whether what is in messages may be among it.
	Payloads() bool
}

// showConsole leaves a request to the console.
func (h *Handler) showConsole(c echo.Context) error {
	h.console.ServeHTTP(c.Response(), c.Request())
	return nil
}

// count counts a refusal.
func (h *Handler) count(reason code) {
	counter, ok := h.refusals.Load(reason)
	if !ok {
		counter, _ = h.refusals.LoadOrStore(reason, new(atomic.Int64))
	}
	counter.(*atomic.Int64).Add(1)
}

// Refusals returns how many requests were refused since the start, by the code of the refusal.
func (h *Handler) Refusals() map[string]int64 {
	all := map[string]int64{}
	h.refusals.Range(func(reason, counter any) bool {
		all[string(reason.(code))] = counter.(*atomic.Int64).Load()
		return true
	})
	return all
}
