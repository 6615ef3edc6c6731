package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	separator = "\x1e"
	target    = "m" // of all messages
	// serverTimeout is how long clients wait for any byte before they give a connection up.
	serverTimeout = 30 * time.Second
	// connectTimeout bounds a client's requests that are to be answered at once.
	connectTimeout = 15 * time.Second
)

// Message types of HubProtocol.md.
const (
	typeInvocation = 1
	typeCompletion = 3
	typePing       = 6
	typeClose      = 7
	typeAck        = 8
	typeSequence   = 9
	lastTrackable  = 5
)

// record is any message of the service, in JSON.
type record struct {
	Type         int               `json:"type"`
	Target       string            `json:"target"`
	Arguments    []json.RawMessage `json:"arguments"`
	InvocationID string            `json:"invocationId"`
	SequenceID   uint64            `json:"sequenceId"`
	Error        string            `json:"error"`
}

func parseRecord(text []byte) (r record, err error) {
	err = json.Unmarshal(text, &r)
	return r, err
}

// message reads the arguments of a message: publisher, number, padding.
func (r *record) message() (m Message, ok bool) {
	if r.Type != typeInvocation || r.Target != target {
		return m, false
	}
	return parseMessage(r.Arguments)
}

func parseMessage(arguments []json.RawMessage) (m Message, ok bool) {
	if len(arguments) < 2 {
		return m, false
	}
	err := json.Unmarshal(arguments[0], &m.Publisher)
	if err == nil {
		err = json.Unmarshal(arguments[1], &m.Number)
	}
	return m, err == nil
}

// records splits what a transport delivered. rest is an unfinished record.
func records(b []byte) (whole [][]byte, rest []byte) {
	for {
		i := bytes.IndexByte(b, separator[0])
		if i < 0 {
			return whole, b
		}
		whole = append(whole, b[:i])
		b = b[i+1:]
	}
}

// httpClient makes a connection for each request: a library that repeats requests on its own would
// repeat polls, which only a proxy may.
var httpClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// request makes a request and reads the whole answer; err is a failure to get one.
func request(ctx context.Context, limit time.Duration, method, url, body string) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (r *recorder) url() string {
	return fmt.Sprintf("%s/hubs/%s?user=%s", r.base, r.run.hubs[r.hub], url.QueryEscape(r.user))
}

// negotiate returns a connection's ID and the address of its further requests.
func (r *recorder) negotiate(stateful bool) (connection, address string, err error) {
	where, query, _ := strings.Cut(r.url(), "?")
	status, body, err := request(r.run.ctx, connectTimeout, http.MethodPost,
		fmt.Sprintf("%s/negotiate?%s&negotiateVersion=1&useStatefulReconnect=%v", where, query, stateful), "")
	if err != nil {
		return "", "", err
	}
	var answer struct {
		ConnectionID, ConnectionToken string
		UseStatefulReconnect          bool
	}
	if status != http.StatusOK || json.Unmarshal(body, &answer) != nil {
		return "", "", fmt.Errorf("negotiate: %d %s", status, body)
	}
	if stateful && !answer.UseStatefulReconnect {
		return "", "", fmt.Errorf("negotiate: stateful reconnect not granted: %s", body)
	}
	return answer.ConnectionID, r.url() + "&id=" + url.QueryEscape(answer.ConnectionToken), nil
}

func handshake(version int) string {
	return fmt.Sprintf(`{"protocol":"json","version":%d}`, version) + separator
}

// between is a random duration. It decides nothing that the seed should.
func between(from, to time.Duration) time.Duration { return from + rand.N(to-from) }
