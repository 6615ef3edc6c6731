package upstream

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The categories of events, and the events of connections.
const (
	CategoryConnections = "connections"
	CategoryMessages    = "messages"

	EventConnected    = "connected"
	EventDisconnected = "disconnected"
)

// Claim is one of a client's claims.
type Claim struct{ Type, Value string }

// Request is what an upstream is told.
type Request struct {
	Hub, Category, Event string
	ConnectionID         string
	User                 string // empty: anonymous
	Claims               []Claim
	// Query is the client's, encoded and without a question mark.
	Query string
	// Key is the same whenever the same is asked again.
	Key string
	// Sequence is the event's number; 0: none.
	Sequence    uint64
	ContentType string
	Body        []byte
	// Stream, in place of Body, is sent as it comes.
	Stream io.Reader
	// Asks: it asks whether something may be, and 401 and 403 say no.
	Asks bool
}

// Signature is the value of X-ASRS-Signature: an item for every key, each of which is used as it is written.
func Signature(keys []string, connectionID string) string {
	items := make([]string, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(connectionID))
		items[i] = "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(items, ",")
}

// build makes the HTTP request that a rule wants.
func (c *Client) build(ctx context.Context, rule *Rule, address string, r *Request) (*http.Request, error) {
	var body io.Reader = strings.NewReader(string(r.Body))
	if r.Stream != nil {
		body = r.Stream
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, body)
	if err != nil {
		return nil, err
	}
	h := request.Header
	for name, values := range rule.Header {
		h[name] = values
	}
	h.Set("Content-Type", r.ContentType)
	h.Set("User-Agent", "Hubstream")
	h.Set("X-ASRS-Connection-Id", headerText(r.ConnectionID))
	h.Set("X-ASRS-Hub", headerText(r.Hub))
	h.Set("X-ASRS-Category", r.Category)
	h.Set("X-ASRS-Event", headerText(r.Event))
	if r.User != "" {
		h.Set("X-ASRS-User-Id", headerText(r.User))
	}
	if len(r.Claims) > 0 {
		h.Set("X-ASRS-User-Claims", claims(r.Claims))
	}
	if r.Query != "" {
		h.Set("X-ASRS-Client-Query", "?"+r.Query)
	}
	if keys := c.cfg.Keys(); len(keys) > 0 {
		h.Set("X-ASRS-Signature", Signature(keys, r.ConnectionID))
	}
	h.Set("Idempotency-Key", r.Key)
	if r.Sequence > 0 {
		h.Set("X-Hubstream-Sequence", strconv.FormatUint(r.Sequence, 10))
	}
	return request, nil
}

// claims are in one line, as Azure Functions reads no other. What a claim says must not look like another claim: a comma ends one,
// and the first colon with a space its type.
func claims(list []Claim) string {
	var b strings.Builder
	for i, c := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(encoded(c.Type, "%, ") + ": " + encoded(c.Value, "%,"))
	}
	return b.String()
}

// headerText is a client's text as part of a header: percent-encoded if it has anything that a header cannot carry, or a percent
// sign, so that it can be decoded without looking: else a user named "%61nn" would be taken for ann.
func headerText(s string) string { return encoded(s, "%") }

// encoded is percent-encoded if it has anything that a header cannot carry, or one of reserved.
func encoded(s, reserved string) string {
	plain := s == strings.TrimSpace(s) && !strings.ContainsAny(s, reserved)
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '%' && c != ',' {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
		}
	}
	return b.String()
}
