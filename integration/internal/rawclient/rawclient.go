// Package rawclient speaks SignalR by hand, byte for byte, where the official clients are too well behaved: single
// requests with their exact answers, and the JSON protocol over WebSockets (gobwas/ws), server-sent events (r3labs/sse)
// and long polling.
//
//	hub := rawclient.Hub(t, node.URL+"/hubs/chat")
//	n := hub.Negotiate("negotiateVersion=1")
//	ws := hub.WebSocket(n.Token())
//	ws.SendText(rawclient.Handshake); ws.ExpectText("{}\x1e")
package rawclient

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// Separator ends every JSON record.
	Separator = "\x1e"
	// Handshake and HandshakeMessagePack are what clients say first.
	Handshake            = `{"protocol":"json","version":1}` + Separator
	HandshakeMessagePack = `{"protocol":"messagepack","version":1}` + Separator
	// Accepted is the answer to a good handshake.
	Accepted = "{}" + Separator
	// Ping is a keep-alive of either side.
	Ping = `{"type":6}` + Separator
	// Close is the client's goodbye.
	Close = `{"type":7}` + Separator

	// Patience is how long requests and reads wait.
	Patience = 20 * time.Second
)

// httpClient has no keep-alive: every request of these clients is a connection of its own, so that proxies have a
// free choice and a closed node shows at once.
var httpClient = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// HubClient makes requests to one hub. Its methods end the test where there is no answer at all.
type HubClient struct {
	URL string // of the hub, possibly with a query

	tb testing.TB
}

// Hub returns a client of the hub at url.
func Hub(tb testing.TB, url string) *HubClient { return &HubClient{URL: url, tb: tb} }

// Answer is an HTTP answer with its whole body.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Node is the node that answered.
func (a Answer) Node() string { return a.Header.Get("X-Hubstream-Node") }

// Do makes a request and reads the answer. Headers come in pairs.
func Do(ctx context.Context, method, url, body string, headers ...string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := httpClient.Do(r)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, string(b)}, err
}

// Do makes a request to the hub with token as its id; an empty one is left out.
func (h *HubClient) Do(method, token, body string, headers ...string) Answer {
	h.tb.Helper()
	return h.request(method, h.With(token), body, headers...)
}

func (h *HubClient) request(method, url, body string, headers ...string) Answer {
	h.tb.Helper()
	a, err := Do(h.tb.Context(), method, url, body, headers...)
	if err != nil {
		h.tb.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

// With is the hub's URL with token as its id, pasted raw as clients do.
func (h *HubClient) With(token string) string {
	switch {
	case token == "":
		return h.URL
	case strings.Contains(h.URL, "?"):
		return h.URL + "&id=" + token
	}
	return h.URL + "?id=" + token
}

// Poll makes one long poll.
func (h *HubClient) Poll(token string) Answer {
	h.tb.Helper()
	return h.request(http.MethodGet, h.With(token)+"&_="+mark(), "")
}

var marks atomic.Int64

// mark is what JavaScript and Java clients add to each poll, against caches: the time. Here no two are equal.
func mark() string { return strconv.FormatInt(time.Now().UnixMilli()+marks.Add(1), 10) }

// Post sends hub messages, or the handshake, over HTTP.
func (h *HubClient) Post(token, body string) Answer {
	h.tb.Helper()
	return h.Do(http.MethodPost, token, body, "Content-Type", "text/plain;charset=UTF-8")
}

// Delete ends a long polling connection.
func (h *HubClient) Delete(token string) Answer {
	h.tb.Helper()
	return h.Do(http.MethodDelete, token, "")
}

// PendingPoll is a poll that was sent and may wait for its answer.
type PendingPoll struct {
	tb     testing.TB
	answer chan Answer
	err    chan error
}

// StartPoll makes a long poll in the background.
func (h *HubClient) StartPoll(token string) *PendingPoll {
	p := &PendingPoll{tb: h.tb, answer: make(chan Answer, 1), err: make(chan error, 1)}
	url := h.With(token) + "&_=" + mark()
	go func() {
		a, err := Do(h.tb.Context(), http.MethodGet, url, "")
		if err != nil {
			p.err <- err
			return
		}
		p.answer <- a
	}()
	return p
}

// Answer waits for the poll's answer, at most for limit.
func (p *PendingPoll) Answer(limit time.Duration) Answer {
	p.tb.Helper()
	select {
	case a := <-p.answer:
		return a
	case err := <-p.err:
		p.tb.Fatalf("poll: %v", err)
	case <-time.After(limit):
		p.tb.Fatalf("no answer to the poll within %v", limit)
	}
	return Answer{}
}

// Answered says, after a moment, whether the answer is there already.
func (p *PendingPoll) Answered(moment time.Duration) bool {
	select {
	case a := <-p.answer:
		p.answer <- a
		return true
	case <-time.After(moment):
		return false
	}
}

// Negotiated is the answer to negotiate.
type Negotiated struct {
	Answer `json:"-"`

	NegotiateVersion     int     `json:"negotiateVersion"`
	ConnectionID         string  `json:"connectionId"`
	ConnectionToken      *string `json:"connectionToken"`
	UseStatefulReconnect *bool   `json:"useStatefulReconnect"`
	Error                *string `json:"error"`
	AvailableTransports  []struct {
		Transport       string   `json:"transport"`
		TransferFormats []string `json:"transferFormats"`
	} `json:"availableTransports"`
}

// Token is what later requests carry as id.
func (n Negotiated) Token() string {
	if n.ConnectionToken != nil {
		return *n.ConnectionToken
	}
	return n.ConnectionID
}

// Negotiate asks with the given query, such as "negotiateVersion=1".
func (h *HubClient) Negotiate(query string) Negotiated {
	h.tb.Helper()
	base, own, _ := strings.Cut(h.URL, "?")
	url := strings.TrimSuffix(base, "/") + "/negotiate?" + strings.Trim(own+"&"+query, "&")
	var n Negotiated
	n.Answer = h.request(http.MethodPost, url, "")
	if n.Status == http.StatusOK {
		d := json.NewDecoder(bytes.NewReader([]byte(n.Body)))
		if err := d.Decode(&n); err != nil {
			h.tb.Fatalf("answer to negotiate: %v: %s", err, n.Body)
		}
	}
	return n
}

// Connect negotiates with version 1.
func (h *HubClient) Connect() Negotiated {
	h.tb.Helper()
	n := h.Negotiate("negotiateVersion=1")
	if n.Status != http.StatusOK || n.Error != nil {
		h.tb.Fatalf("negotiate: %d %s", n.Status, n.Body)
	}
	return n
}

// At is the same hub client for another node: base replaces scheme and host of the URL.
func (h *HubClient) At(base string) *HubClient {
	_, path, _ := strings.Cut(strings.TrimPrefix(h.URL, "http://"), "/")
	return &HubClient{URL: base + "/" + path, tb: h.tb}
}

// Records splits what transports deliver into JSON records without their separators.
func Records(body string) []string {
	var records []string
	for _, r := range strings.Split(body, Separator) {
		if r != "" {
			records = append(records, r)
		}
	}
	return records
}
