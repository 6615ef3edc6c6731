package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"hubstream/integration/internal/rawclient"
)

// completionError returns the invocation ID of a Completion with an error, or ends the test.
func completionError(t *testing.T, record string) (id string) {
	t.Helper()
	var m struct {
		Type         int
		InvocationID string
		Result       json.RawMessage
		Error        string
	}
	if err := json.Unmarshal([]byte(record), &m); err != nil || m.Type != 3 || m.Error == "" || m.Result != nil {
		t.Fatalf("got %q (%v), want a Completion with an error", record, err)
	}
	return m.InvocationID
}

func wantCompletionError(t *testing.T, record, id string) {
	t.Helper()
	if got := completionError(t, record); got != id {
		t.Fatalf("got %q, want the Completion of invocation %s", record, id)
	}
}

// wantErrorClose checks a Close message after which clients reconnect.
func wantErrorClose(t *testing.T, record string, words ...string) {
	t.Helper()
	var m struct {
		Type           int
		Error          string
		AllowReconnect bool
	}
	if err := json.Unmarshal([]byte(record), &m); err != nil || m.Type != 7 || !m.AllowReconnect {
		t.Errorf("got %q (%v), want a Close message with allowReconnect", record, err)
	}
	for _, word := range append([]string{"Connection closed with an error."}, words...) {
		if !strings.Contains(m.Error, word) {
			t.Errorf("the error is %q, want it to say %q", m.Error, word)
		}
	}
}

func invocation(id string) string {
	return fmt.Sprintf(`{"type":1,"invocationId":"%s","target":"Nope","arguments":[]}`, id) + rawclient.Separator
}

func (s *socket) wantCompletion(id string) {
	s.t.Helper()
	m := s.Next()
	if m.Op != ws.OpText {
		s.t.Errorf("JSON left in a frame with opcode %v, want text", m.Op)
	}
	wantCompletionError(s.t, strings.TrimSuffix(m.Payload, rawclient.Separator), id)
}

// socket is a WebSocket after the JSON handshake.
type socket struct {
	*rawclient.WS
	t  *testing.T
	id string
}

func openSocket(t *testing.T) *socket {
	t.Helper()
	w, n := sharedCluster(t).hub(t, newHub(t), 0).OpenWebSocket()
	return &socket{w, t, n.ConnectionID}
}

// Any opcode will do from a client (Java sends JSON as binary), but JSON leaves as text.
func TestWebSocketTakesJSONInBinaryFrames(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t), 0)
	w := hub.WebSocket(hub.Connect().Token())
	w.SendBinary(rawclient.Handshake)
	w.ExpectText(rawclient.Accepted)
	w.SendBinary(invocation("0"))
	(&socket{w, t, ""}).wantCompletion("0")
}

func TestWebSocketTakesATextHandshakeBeforeMessagePack(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	hub := c.hub(t, name, 0)
	w := hub.WebSocket(hub.Connect().Token())
	w.SendText(rawclient.HandshakeMessagePack)
	if m := w.Next(); m.Payload != rawclient.Accepted {
		t.Fatalf("got %v %q, want the handshake's answer", m.Op, m.Payload)
	}
	w.SendBinary("\x0c\x95\x01\x80\xa1\x30\xa3Add\x92\x01\x02") // invocation "0" of Add(1, 2), five items
	m := w.Next()
	if m.Op != ws.OpBinary || len(m.Payload) < 8 || m.Payload[2:6] != "\x03\x80\xa10" || m.Payload[6] != 1 {
		t.Errorf("got %v % x, want a Completion of \"0\" with an error in a binary frame", m.Op, m.Payload)
	}
	c.backend(t, name).send(audience{}, "a", 42)
	if m := w.Next(); m.Op != ws.OpBinary || m.Payload != "\x09\x96\x01\x80\xc0\xa1a\x91\x2a\x90" {
		t.Errorf("got %v % x, want the invocation with six items", m.Op, m.Payload)
	}
}

func TestWebSocketTakesMessagesHoweverTheyAreFramed(t *testing.T) {
	t.Parallel()
	s := openSocket(t)
	t.Log("two messages in one frame")
	s.SendText(invocation("0") + invocation("1"))
	s.wantCompletionsInOrder("0", "1")
	t.Log("one message in two frames")
	s.SendText(invocation("2")[:10])
	s.SendText(invocation("2")[10:])
	s.wantCompletionsInOrder("2")
	t.Log("one message in three fragments, a control frame between them")
	m := invocation("3")
	s.SendFrame(ws.NewFrame(ws.OpText, false, []byte(m[:10])))
	s.SendFrame(ws.NewFrame(ws.OpContinuation, false, []byte(m[10:20])))
	s.SendFrame(ws.NewPingFrame([]byte("between")))
	s.SendFrame(ws.NewFrame(ws.OpContinuation, true, []byte(m[20:])))
	s.wantCompletionsInOrder("3")
	t.Log("one and a half, then the other half")
	s.SendText(invocation("4") + invocation("5")[:5])
	s.wantCompletionsInOrder("4")
	s.SendText(invocation("5")[5:])
	s.wantCompletionsInOrder("5")
	t.Log("nothing")
	s.SendText("")
	s.SendText(invocation("6"))
	s.wantCompletionsInOrder("6")
}

// wantCompletionsInOrder reads records, which may come together in one message, but never in pieces.
func (s *socket) wantCompletionsInOrder(ids ...string) {
	s.t.Helper()
	for len(ids) > 0 {
		m := s.Next()
		if !strings.HasSuffix(m.Payload, rawclient.Separator) {
			s.t.Fatalf("a WebSocket message ends within a hub message: %q", m.Payload)
		}
		for _, record := range rawclient.Records(m.Payload) {
			wantCompletionError(s.t, record, ids[0])
			ids = ids[1:]
		}
	}
}

func TestHandshakeAndMessagesInOneFrame(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	hub := c.hub(t, newHub(t), 0)
	w := hub.WebSocket(hub.Connect().Token())
	w.SendText(rawclient.Handshake + invocation("0") + rawclient.Ping)
	var records []string
	for len(records) < 2 {
		records = append(records, rawclient.Records(w.Next().Payload)...)
	}
	if records[0] != "{}" {
		t.Errorf("first came %q, want the handshake's answer", records[0])
	}
	wantCompletionError(t, records[1], "0")
}

// Calls that expect no answer get none, unknown messages are passed over, and unknown fields too.
func TestMessagesWithoutAnAnswerGetNone(t *testing.T) {
	t.Parallel()
	s := openSocket(t)
	for _, m := range []string{
		`{"type":1,"target":"Nope","arguments":[]}`,
		`{"type":42,"anything":1}`,
		`{"type":6,"more":{"a":[]}}`,
		`{"type":5,"invocationId":"nobody"}`,
		`{"type":2,"invocationId":"nobody","item":1}`,
		`{"type":3,"invocationId":"nobody","result":1}`,
		`{"type":3,"invocationId":"nobody"}`,
	} {
		s.SendText(m + rawclient.Separator)
	}
	s.SendText(`{"arguments":[],"headers":{"traceparent":"x"},"new":1,"target":"Nope","invocationId":"last","type":1}` + rawclient.Separator)
	s.wantCompletion("last")
}

func TestStreamInvocationWithoutUpstreamIsCompletedWithAnError(t *testing.T) {
	t.Parallel()
	s := openSocket(t)
	s.SendText(`{"type":4,"invocationId":"s","target":"Counter","arguments":[10],"streamIds":[]}` + rawclient.Separator)
	s.wantCompletion("s")
}

// Whatever way a client leaves, it is gone once, and the server's close frame to one that says goodbye carries 1000:
// clients check it.
func TestClientLeavesAWebSocket(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	goodbyes := map[string]func(w *rawclient.WS){
		"close frame without a code": func(w *rawclient.WS) { w.SendFrame(ws.NewCloseFrame(nil)) },
		"close frame with 1000":      func(w *rawclient.WS) { w.SendFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "bye"))) },
		"close frame with 1001":      func(w *rawclient.WS) { w.SendFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1001, ""))) },
		"Close message":              func(w *rawclient.WS) { w.SendText(rawclient.Close) },
	}
	for what, leave := range goodbyes {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, n := c.hub(t, name, 0).OpenWebSocket()
			leave(w)
			records, code := w.ExpectClosed(5 * time.Second)
			if code != ws.StatusNormalClosure {
				t.Errorf("the server's close code is %d, want 1000", code)
			}
			for _, r := range records {
				if strings.Contains(r, `"error"`) {
					t.Errorf("a normal end told %q", r)
				}
			}
			awaitGone(t, c, name, n)
		})
	}
	t.Run("TCP reset", func(t *testing.T) {
		t.Parallel()
		w, n := c.hub(t, name, 0).OpenWebSocket()
		w.Abort()
		awaitGone(t, c, name, n)
	})
}

// awaitGone asks every node until the connection is not found any more.
func awaitGone(t *testing.T, c *cluster, hub string, n rawclient.Negotiated) {
	t.Helper()
	for i := range c.nodes {
		end := time.Now().Add(rawclient.Patience)
		for {
			status := c.hub(t, hub, i).Poll(n.Token()).Status
			if status == http.StatusNotFound {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the connection is still known to %s: %d", c.nodes[i].Name, status)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// Messages are sent as they are: no headers, no null for what is absent, and compact.
func TestOutboundInvocationIsMinimal(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	w, _ := c.hub(t, name, 0).OpenWebSocket()
	b := c.backend(t, name)
	a := b.call(http.MethodPost, "/send", " {\"arguments\" : [ 1 ,\n {\"a\" : null } ], \"target\":\"m\" } ")
	if a.Status != http.StatusAccepted {
		t.Fatalf("send: got %d %s", a.Status, a.Body)
	}
	w.ExpectText(`{"type":1,"target":"m","arguments":[1,{"a":null}]}` + rawclient.Separator)
}

func TestManyConnectionsGetOneBroadcastEach(t *testing.T) {
	t.Parallel()
	c := sharedCluster(t)
	name := newHub(t)
	var sockets []*rawclient.WS
	for i := range 60 {
		w, _ := c.hub(t, name, i).OpenWebSocket()
		sockets = append(sockets, w)
	}
	b := c.backend(t, name)
	b.toAll(1)
	b.toAll(2)
	for _, w := range sockets {
		var got []string
		for len(got) < 2 {
			got = append(got, rawclient.Records(w.Next().Payload)...)
		}
		if want := []string{messageRecord(1), messageRecord(2)}; !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}
