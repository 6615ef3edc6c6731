package integration_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"hubstream/integration/internal/rawclient"
)

const (
	messageLimit = 32 << 10 // one hub message of a client
	sendLimit    = 1 << 20  // the body of a send
)

// What a client gets wrong ends its connection, with a reason, and nobody else's.
func TestBrokenMessagesEndOnlyTheirConnection(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	bystander, _ := c.hub(t, name, 0).OpenWebSocket()
	for what, message := range map[string]string{
		"no type":               `{"target":"x"}`,
		"not JSON":              `{"type":1,`,
		"not an object":         `[1,2]`,
		"type is text":          `{"type":"1"}`,
		"no target":             `{"type":1,"arguments":[]}`,
		"no arguments":          `{"type":1,"target":"x"}`,
		"arguments are no list": `{"type":1,"target":"x","arguments":{}}`,
		"no invocation ID":      `{"type":4,"target":"x","arguments":[]}`,
		"not UTF-8":             "{\"type\":1,\"target\":\"\xff\xfe\",\"arguments\":[]}",
		"an empty record":       ``,
		"too large":             `{"type":1,"target":"x","arguments":["` + strings.Repeat("x", messageLimit) + `"]}`,
	} {
		t.Run(what, func(t *testing.T) {
			w, n := c.hub(t, name, 0).OpenWebSocket()
			w.SendText(message + rawclient.Separator)
			records, _ := w.ExpectClosed(10 * time.Second)
			if len(records) == 0 {
				t.Fatal("closed without a Close message")
			}
			wantErrorClose(t, records[len(records)-1])
			if what == "too large" && !strings.Contains(records[0], "32768") && !strings.Contains(records[0], "32 KiB") {
				t.Errorf("got %s, want it to name the limit", records[0])
			}
			awaitGone(t, c, name, n)
		})
	}
	t.Run("MessagePack that is none", func(t *testing.T) {
		for _, frame := range []string{"\x00", "\xff\xff\xff\xff\xff", "\x02\xc1\xc1", "\x03\x92\x01\x80", "\xff\xff\xff\xff\x07x"} {
			hub := c.hub(t, name, 1)
			w := hub.WebSocket(hub.Connect().Token())
			w.SendText(rawclient.HandshakeMessagePack)
			w.Next()
			w.SendBinary(frame)
			if _, code := w.ExpectClosed(10 * time.Second); code == ws.StatusInternalServerError {
				t.Errorf("% x: closed with %d: the client's fault is none of the server's", frame, code)
			}
		}
	})
	c.backend(t, name).toAll("to the bystander")
	bystander.ExpectText(`{"type":1,"target":"message","arguments":["to the bystander"]}` + rawclient.Separator)
}

func TestMessageAtTheLimitPasses(t *testing.T) {
	t.Parallel()
	s := openSocket(t)
	head, tail := `{"type":1,"invocationId":"big","target":"Nope","arguments":["`, `"]}`+rawclient.Separator
	s.SendText(head + strings.Repeat("x", messageLimit-len(head)-len(tail)) + tail)
	s.wantCompletion("big")
}

func TestOversizedPostEndsOnlyItsConnection(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	p := openPolling(t, c, newHub(t))
	big := `{"type":1,"target":"x","arguments":["` + strings.Repeat("x", messageLimit) + `"]}` + rawclient.Separator
	if a := p.next().Post(p.token, big); a.Status != http.StatusOK && !strings.Contains(a.Body, "32768") {
		t.Errorf("POST: got %d %q, want 200, or a refusal that names the limit", a.Status, a.Body)
	}
	a := p.next().Poll(p.token)
	records := rawclient.Records(a.Body)
	if len(records) != 1 {
		t.Fatalf("poll: got %d %q, want a Close message", a.Status, a.Body)
	}
	wantErrorClose(t, records[0])
}

func TestBrokenWebSocketFramesEndOnlyTheirConnection(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	for what, frame := range map[string]ws.Frame{
		"reserved opcode":              ws.NewFrame(0x3, true, []byte("x")),
		"continuation of nothing":      ws.NewFrame(ws.OpContinuation, true, []byte("x")),
		"control frame in fragments":   ws.NewFrame(ws.OpPing, false, []byte("x")),
		"reserved bit":                 {Header: ws.Header{Fin: true, Rsv: ws.Rsv(true, false, false), OpCode: ws.OpText, Length: 1}, Payload: []byte("x")},
		"control frame that is large":  ws.NewFrame(ws.OpPing, true, []byte(strings.Repeat("x", 126))),
		"close frame with half a code": ws.NewFrame(ws.OpClose, true, []byte("x")),
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, n := c.hub(t, name, 0).OpenWebSocket()
			_ = w.TrySendFrame(frame)
			w.ExpectClosed(10 * time.Second)
			awaitGone(t, c, name, n)
		})
	}
}

func TestSendRefusesWhatItCannotDeliver(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	w, _ := c.hub(t, name, 0).OpenWebSocket()
	b := c.backend(t, name)
	good := `{"target":"message","arguments":[]}`
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, v := range []struct {
		what, body string
		status     int
		words      []string
	}{
		{"empty", ``, 400, nil},
		{"not JSON", `{"target":`, 400, nil},
		{"two values", good + good, 400, nil},
		{"not an object", `[]`, 400, nil},
		{"no target", `{"arguments":[]}`, 400, []string{"target"}},
		{"empty target", `{"target":"","arguments":[]}`, 400, []string{"target"}},
		{"target is no text", `{"target":1,"arguments":[]}`, 400, []string{"target"}},
		{"arguments are no list", `{"target":"m","arguments":{}}`, 400, []string{"arguments"}},
		{"groups are no list", `{"target":"m","arguments":[],"groups":"g"}`, 400, []string{"groups"}},
		{"a group is no text", `{"target":"m","arguments":[],"groups":[1]}`, 400, []string{"groups"}},
		{"unknown field", `{"target":"m","arguments":[],"group":["g"]}`, 400, []string{"group"}},
		{"not UTF-8", "{\"target\":\"m\",\"arguments\":[\"\xff\"]}", 400, nil},
		{"a lone surrogate", `{"target":"m","arguments":["\ud800"]}`, 400, nil},
		{"too deep", `{"target":"m","arguments":[` + deep + `]}`, 400, nil},
		{"too large", `{"target":"m","arguments":["` + strings.Repeat("x", sendLimit) + `"]}`, 413, []string{"1048576|1 MiB"}},
	} {
		a := b.call(http.MethodPost, "/send", v.body)
		if v.body == "" {
			a = b.call(http.MethodPost, "/send", "", "Content-Type", "application/json")
		}
		if a.Status != v.status || a.Body == "" {
			t.Errorf("%s: got %d %q, want %d and a reason", v.what, a.Status, a.Body, v.status)
		}
		for _, word := range v.words {
			if !containsAny(a.Body, strings.Split(word, "|")) {
				t.Errorf("%s: got %q, want it to name %s", v.what, a.Body, word)
			}
		}
	}
	if a := b.call(http.MethodPost, "/send", good, "Content-Type", "text/html"); a.Status != http.StatusUnsupportedMediaType {
		t.Errorf("Content-Type text/html: got %d %q, want 415", a.Status, a.Body)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		if a := b.call(method, "/send", ""); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %d %q, want 405", method, a.Status, a.Body)
		}
	}
	b.toAll("after all that")
	w.ExpectText(`{"type":1,"target":"message","arguments":["after all that"]}` + rawclient.Separator)
}

func containsAny(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// The largest send that is allowed really arrives.
func TestSendJustBelowTheLimitArrives(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	p := openPolling(t, c, name)
	text := strings.Repeat("x", sendLimit-1000)
	c.backend(t, name).toAll(text)
	c.backend(t, name).toAll(2)
	p.expect(`{"type":1,"target":"message","arguments":["` + text + `"]}`)
	p.expectMessage(2)
}

func TestHubNamesAreChecked(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	for what, name := range map[string]string{
		"space": "a%20b", "slash": "a%2Fb", "colon": "a:b", "brace": "a%7Bb%7D", "not ASCII": "%C3%BC", "control": "a%0Ab", "star": "*", "too long": strings.Repeat("a", 200),
	} {
		for _, path := range []string{"/hubs/" + name + "/negotiate?negotiateVersion=1", "/api/hubs/" + name + "/send"} {
			a, err := rawclient.Do(t.Context(), http.MethodPost, c.nodes[0].URL+path, `{"target":"m","arguments":[]}`, "Content-Type", "application/json")
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != http.StatusBadRequest && a.Status != http.StatusNotFound {
				t.Errorf("%s in %s: got %d %q, want 400 or 404", what, path, a.Status, a.Body)
			}
		}
	}
}

func TestMembershipOfUnknownConnectionsIsRefused(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	b := c.backend(t, newHub(t))
	if a := b.call(http.MethodPut, "/groups/g/connections/nobody-has-this-id", ""); a.Status != http.StatusNotFound {
		t.Errorf("join: got %d %q, want 404", a.Status, a.Body)
	}
	// Leaving what one is not in is done already.
	if a := b.call(http.MethodDelete, "/groups/g/connections/nobody-has-this-id", ""); a.Status >= 500 {
		t.Errorf("leave: got %d %q", a.Status, a.Body)
	}
	for _, method := range []string{http.MethodPost, http.MethodPatch} {
		if a := b.call(method, "/groups/g/connections/x", ""); a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %d, want 405", method, a.Status)
		}
	}
}

// A message for nobody is accepted: whether somebody is there is not looked up.
func TestSendToNobodyIsAccepted(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	b := c.backend(t, newHub(t))
	b.toConnection("nobody", 1)
	b.toUser("nobody", 1)
	b.toGroup("nothing", 1)
}

// Frames that come byte by byte are a slow client, not a broken one.
func TestSlowFramesAreWaitedFor(t *testing.T) {
	t.Parallel()
	s := openSocket(t)
	message := invocation("slow")
	for i := range len(message) {
		s.SendFrame(ws.NewFrame(map[bool]ws.OpCode{true: ws.OpText, false: ws.OpContinuation}[i == 0], i == len(message)-1, []byte{message[i]}))
	}
	s.wantCompletion("slow")
}

// Names of groups and users are exact bytes, whatever they are.
func TestGroupAndUserNamesAreExact(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	names := []string{"a", "A", "a b", "a/b", "ü", "{x}", "*", "a:b", "%2F", "..", strings.Repeat("g", 100)}
	p := openPolling(t, c, name)
	b := c.backend(t, name)
	for i, group := range names {
		b.toGroup(group, -1)
		b.join(group, p.id)
		b.toGroup(group, i)
		b.leave(group, p.id)
		b.toGroup(group, -2)
	}
	for i := range names {
		p.expectMessage(i)
	}
	b.toAll("end")
	p.expect(`{"type":1,"target":"message","arguments":["end"]}`)
}
