package transports_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/internal/upstream"
	"hubstream/transports"
)

// app is an application behind an upstream: it notes what it is told, and answers as the method's name says.
type app struct {
	refuses bool // every event is for another

	mu    sync.Mutex
	told  []string // "<event> <key> <body>"
	gates map[string]chan struct{}
	under int // calls under way, of one connection at a time
	most  int
	made  atomic.Int64 // items of Fast
}

// with makes nodes whose clients' calls go to the application.
func (a *app) with(cfg *transports.Config) { cfg.Upstream = a }

func (a *app) Matches(_, _, event string) bool {
	return !a.refuses && event != "Unmatched"
}

func (a *app) note(r *upstream.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := r.Key[strings.LastIndexByte(r.Key, ':')+1:]
	a.told = append(a.told, fmt.Sprint(r.Event, " ", key, " ", string(r.Body)))
	a.under++
	a.most = max(a.most, a.under)
}

// gate makes calls of a method wait until the returned function is called.
func (a *app) gate(method string) (open func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gates == nil {
		a.gates = map[string]chan struct{}{}
	}
	ch := make(chan struct{})
	a.gates[method] = ch
	return func() { close(ch) }
}

func (a *app) Call(ctx context.Context, r *upstream.Request) (*upstream.Answer, error) {
	a.note(r)
	a.mu.Lock()
	gate := a.gates[r.Event]
	a.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
	a.mu.Lock()
	a.under--
	a.mu.Unlock()
	if ctx.Err() != nil {
		return nil, &upstream.Error{Outcome: upstream.Cancelled}
	}
	if r.Event == "connected" {
		return a.connect(r)
	}
	id := between(string(r.Body), `"invocationId":"`, `"`)
	switch r.Event {
	case "Nothing":
		return &upstream.Answer{Status: http.StatusNoContent}, nil
	case "Fails":
		return &upstream.Answer{Status: http.StatusInternalServerError}, nil
	case "Garbage":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte("<html>")}, nil
	case "Other":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(`{"type":3,"invocationId":"999","result":1}`)}, nil
	case "Two":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(result(id, 1) + result(id, 2))}, nil
	case "Message":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(invocation(1))}, nil
	case "Picture":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "image/png", Body: []byte("png")}, nil
	case "Who":
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(result(id, strconv.Quote(r.User)))}, nil
	case "Hub":
		return &upstream.Answer{Status: http.StatusOK, Body: []byte(`{"type":3,"invocationId":"` + id + `","error":"not today"}`)}, nil
	}
	return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json; charset=utf-8", Body: []byte(result(id, 42))}, nil
}

// connect answers who may connect by the client's query.
func (a *app) connect(r *upstream.Request) (*upstream.Answer, error) {
	if r.User == "ann@mail" {
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(`{"user":"ann"}`)}, nil
	}
	if r.User == "eve" {
		return &upstream.Answer{Status: http.StatusUnauthorized}, nil
	}
	switch r.Query {
	case "as=long":
		return &upstream.Answer{Status: http.StatusOK, Body: []byte(`{"user":"` + strings.Repeat("u", 1025) + `"}`)}, nil
	case "as=eve":
		return &upstream.Answer{Status: http.StatusForbidden}, nil
	case "as=crash":
		return &upstream.Answer{Status: http.StatusInternalServerError}, nil
	case "as=rubbish":
		return &upstream.Answer{Status: http.StatusOK, Body: []byte("<html>")}, nil
	case "as=ann":
		body := `{"claims":[{"type":"hubstream.rights","value":"SendToGroup:team"}],"groups":["team"]}`
		return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json", Body: []byte(body)}, nil
	}
	return &upstream.Answer{Status: http.StatusOK}, nil
}

func between(s, begin, end string) string {
	_, s, _ = strings.Cut(s, begin)
	s, _, _ = strings.Cut(s, end)
	return s
}

// Stream answers numbers from 1 on, one every second until Counter's argument; Endless does not stop; Sum adds what is uploaded.
func (a *app) Stream(ctx context.Context, r *upstream.Request) (*upstream.Stream, error) {
	a.note(r)
	a.mu.Lock()
	a.under--
	a.mu.Unlock()
	reader, writer := io.Pipe()
	stop := context.AfterFunc(ctx, func() { writer.CloseWithError(ctx.Err()) })
	s := upstream.NewStream(http.StatusOK, "application/x-ndjson", reader, func() { stop(); reader.Close() })
	switch r.Event {
	case "Sum":
		s = upstream.NewStream(http.StatusOK, "application/json", reader, func() { stop(); reader.Close() })
		go func() {
			text, _ := io.ReadAll(r.Stream)
			id := between(string(text), `"invocationId":"`, `"`)
			_, _ = io.WriteString(writer, result(id, strings.Count(string(text), `"item"`)))
			writer.Close()
		}()
	case "Huge":
		s = upstream.NewStream(http.StatusOK, "application/json", reader, func() { stop(); reader.Close() })
		go func() {
			_, _ = io.WriteString(writer, result("1", strconv.Quote(strings.Repeat("x", 2<<20))))
			writer.Close()
		}()
	case "Broken":
		go func() {
			_, _ = io.WriteString(writer, "1\n")
			writer.CloseWithError(io.ErrUnexpectedEOF)
		}()
	case "Fast":
		go func() {
			for {
				if _, err := fmt.Fprintln(writer, a.made.Add(1)); err != nil {
					return
				}
			}
		}()
	default:
		go func() {
			for n := 1; r.Event == "Endless" || n <= 3; n++ {
				if _, err := fmt.Fprintln(writer, n); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
			writer.Close()
		}()
	}
	return s, nil
}

func (a *app) wantTold(t testing.TB, want ...string) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.told, want) {
		t.Errorf("told:\n%s\nwant:\n%s", strings.Join(a.told, "\n"), strings.Join(want, "\n"))
	}
}

func method(name, id string, arguments string) string {
	return fmt.Sprintf(`{"type":1,"invocationId":"%s","target":"%s","arguments":%s}`+"\x1e", id, name, arguments)
}

func send(name string) string {
	return fmt.Sprintf(`{"type":1,"target":"%s","arguments":[]}`+"\x1e", name)
}

func streamCall(name, id string) string {
	return fmt.Sprintf(`{"type":4,"invocationId":"%s","target":"%s","arguments":[]}`+"\x1e", id, name)
}

func result(id string, value any) string {
	return fmt.Sprintf(`{"type":3,"invocationId":"%s","result":%v}`+"\x1e", id, value)
}

func void(id string) string { return fmt.Sprintf(`{"type":3,"invocationId":"%s"}`+"\x1e", id) }

func failed(id, text string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":"%s","error":"%s"}`+"\x1e", id, text)
}

func item(id string, value any) string {
	return fmt.Sprintf(`{"type":2,"invocationId":"%s","item":%v}`+"\x1e", id, value)
}

const connected = `connected connected {"type":10}`

func told(name, number, id, arguments string) string {
	return name + " " + number + " " + strings.TrimSuffix(method(name, id, arguments), "\x1e")
}
