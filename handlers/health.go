package handlers

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/labstack/echo/v4"
)

// readyTimeout is how long the store may take to say that it can be used.
const readyTimeout = 2 * time.Second

// healthz says that the process lives. It asks nothing: restarting a node does not mend its store.
func healthz(c echo.Context) error {
	return writeHealth(c, http.StatusOK, "ok")
}

// readyz says whether the node should be sent requests, and if not why.
func (h *Handler) readyz(c echo.Context) error {
	if reason := h.unready.Load(); reason != nil {
		return writeHealth(c, http.StatusServiceUnavailable, withoutAddresses(*reason))
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()
	if err := h.services.Load().Streams.Ready(ctx); err != nil {
		return writeHealth(c, http.StatusServiceUnavailable, withoutAddresses(err.Error()))
	}
	return writeHealth(c, http.StatusOK, "ok")
}

// storeAddress matches how Go's errors name the other end of a connection.
var storeAddress = regexp.MustCompile(`\b(?:dial|read|write) \w+ \S+: |\blookup \S+(?: on \S+)?: `)

// withoutAddresses is a reason for whoever asks, who need not know where the store is.
func withoutAddresses(reason string) string { return storeAddress.ReplaceAllString(reason, "") }

// showMetrics leaves a request to the metrics.
func (h *Handler) showMetrics(c echo.Context) error {
	h.metrics.ServeHTTP(c.Response(), c.Request())
	return nil
}

func writeHealth(c echo.Context, status int, text string) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.String(status, text+"\n")
}
