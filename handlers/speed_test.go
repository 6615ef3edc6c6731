package handlers_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"hubstream/handlers"
	"hubstream/negotiate/access"
)

// Bodies as backends send them.
var (
	broadcastBody = []byte(`{"target":"message","arguments":["` + strings.Repeat("x", 200) + `",42,{"a":true}]}`)
	groupBody     = []byte(`{"target":"message","arguments":["` + strings.Repeat("x", 200) + `"],"groups":["room-17"],"excluded":["0123456789abcdefghijkl"]}`)
)

// sender makes the same send again and again, as net/http would hand it over.
type sender struct {
	handler http.Handler
	request *http.Request
	body    bytes.Reader
	src     []byte
	header  http.Header
	status  int
}

func newSender(f *fixture, body []byte) *sender {
	s := &sender{handler: f, src: body, header: http.Header{}}
	s.request = httptest.NewRequest("POST", "/api/hubs/chat/send", nil)
	s.request.Header.Set("Content-Type", "application/json")
	s.request.ContentLength = int64(len(body))
	s.request.Body = io.NopCloser(&s.body)
	return s
}

func (s *sender) Header() http.Header         { return s.header }
func (s *sender) WriteHeader(status int)      { s.status = status }
func (s *sender) Write(b []byte) (int, error) { return len(b), nil }

func (s *sender) send() {
	s.body.Reset(s.src)
	clear(s.header)
	s.handler.ServeHTTP(s, s.request)
}

func TestSendAllocatesLittle(t *testing.T) {
	f := newFixture(t, handlers.Config{})
	for name, body := range map[string][]byte{"broadcast": broadcastBody, "group": groupBody} {
		var builder handlers.SendBuilder
		if n := testing.AllocsPerRun(100, func() {
			if _, err := builder.Build(body); err != nil {
				t.Fatal(err)
			}
		}); n > 1 && name == "broadcast" || n > 3 {
			t.Errorf("%s: %v allocations to build the entry", name, n)
		}
	}
	s := newSender(f, broadcastBody)
	n := testing.AllocsPerRun(1000, s.send)
	if s.status != http.StatusAccepted {
		t.Fatalf("got %d", s.status)
	}
	t.Logf("%v allocations for a request", n)
	if n > 12 {
		t.Errorf("%v allocations for a request", n)
	}
}

func BenchmarkSend(b *testing.B) {
	for name, body := range map[string][]byte{"broadcast": broadcastBody, "group": groupBody} {
		b.Run(name, func(b *testing.B) {
			s := newSender(newFixture(b, handlers.Config{}), body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				s.send()
			}
			if s.status != http.StatusAccepted {
				b.Fatalf("got %d", s.status)
			}
		})
	}
}

// What access tokens and limits cost a send, over the handler alone and over HTTP on loopback.
func BenchmarkSendWithToken(b *testing.B) {
	plain := func() *fixture { return newFixture(b, handlers.Config{}) }
	guarded := func() *fixture {
		return newGuardedWith(b, access.Config{}, handlers.Limits{SendRate: 1 << 20, ConnectRate: 100, UserConnections: 10}).fixture
	}
	for name, make := range map[string]func() *fixture{"without": plain, "with": guarded} {
		token := claims(b, keyTwo, map[string]any{"aud": "http://example.com/api/hubs/chat"})
		b.Run("handler/"+name, func(b *testing.B) {
			s := newSender(make(), broadcastBody)
			s.request.Header.Set("Authorization", "Bearer "+token)
			b.ReportAllocs()
			for b.Loop() {
				s.send()
			}
			if s.status != http.StatusAccepted {
				b.Fatalf("got %d", s.status)
			}
		})
		b.Run("http/"+name, func(b *testing.B) {
			server := httptest.NewServer(make())
			defer server.Close()
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequest("POST", server.URL+"/api/hubs/chat/send", bytes.NewReader(broadcastBody))
				r.Host = "example.com"
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Authorization", "Bearer "+token)
				answer, err := server.Client().Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				if answer.StatusCode != http.StatusAccepted {
					b.Fatalf("got %d", answer.StatusCode)
				}
			}
		})
	}
}

func BenchmarkBuildEntry(b *testing.B) {
	for name, body := range map[string][]byte{
		"broadcast": broadcastBody, "group": groupBody,
		"1000 users":         []byte(`{"target":"m","users":[` + repeated(`"0123456789abcdefghijkl"`, 1000) + `]}`),
		"512 KiB":            []byte(`{"target":"m","arguments":["` + strings.Repeat("x", 512<<10) + `"]}`),
		"512 KiB of escapes": []byte(`{"target":"m","arguments":["` + strings.Repeat(`\"`, 256<<10) + `"]}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var builder handlers.SendBuilder
			for b.Loop() {
				if _, err := builder.Build(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
