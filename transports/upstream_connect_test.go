package transports_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/streams"
	"hubstream/transports"
)

// The upstream decides who may connect, and may say what groups and claims a client has.
func TestAnUpstreamDecidesWhoConnects(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 2, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
		for query, want := range map[string]string{
			"&as=eve": "The application refused the connection.", "&as=crash": "The application could not be asked whether the connection may begin.",
			"&as=rubbish": "The application could not be asked whether the connection may begin.",
			"&as=long":    "The application could not be asked whether the connection may begin.",
		} {
			k := c.negotiate()
			first := c.do(k.ctx, 0, http.MethodGet, "id="+k.token+query+"&_=1", "")
			k.want("first poll", first, 200, "")
			k.want("handshake", k.do(1, http.MethodPost, query, handshakeJSON), 200, "")
			got := c.do(k.ctx, 0, http.MethodGet, "id="+k.token+query+"&_=2", "")
			k.want("its answer", got, 200, `{"error":"`+want+`"}`+"\x1e")
			k.wantRecord(false)
		}
		a.wantTold(t, connected, connected, connected, connected) // and of no end of what did not begin
		a.mu.Lock()
		a.told = nil
		a.mu.Unlock()
		k := c.negotiate()
		k.want("first poll", c.do(k.ctx, 0, http.MethodGet, "id="+k.token+"&as=ann&_=1", ""), 200, "")
		k.want("handshake", k.do(1, http.MethodPost, "&as=ann", handshakeJSON), 200, "")
		if got := c.do(k.ctx, 0, http.MethodGet, "id="+k.token+"&_=2", ""); !strings.HasPrefix(got.body, accepted) {
			t.Fatalf("handshake: %+v", got)
		}
		k.post(0, method("SendToGroup", "1", `["team","say"]`))
		k.pollNext(1).expect(200, `{"type":1,"target":"say","arguments":[]}`+"\x1e"+void("1"))
		a.wantTold(t, connected) // once
	})
}

// What the upstream says of the user holds at every node, for sends, groups and calls; the client's requests go on to come with the token
// that it has.
func TestAnUpstreamGivesAConnectionItsUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 3, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
		for user, group := range map[string]string{"ann": "anns", "ann@mail": "mails"} {
			if _, err := c.nodes[0].JoinUser(c.ctx, hubName, user, group, 0); err != nil {
				t.Fatal(err)
			}
		}
		c.as("ann@mail")
		s := c.negotiate(userOf("ann@mail"), stateful).openSocket(0, handshakeStateful)
		s.sendText(ping)
		e := c.negotiate(userOf("ann@mail")).openEvents(1).shakesHands(2)
		polls := func() *connection {
			k := c.negotiate(userOf("ann@mail"))
			k.poll(0, "1").expect(200, "")
			waiting := k.poll(1, "2")
			synctest.Wait()
			k.post(2, handshakeJSON)
			waiting.expect(200, accepted)
			return k
		}
		k, same := polls(), polls()

		n := 0
		send := func(audience streams.Entry) {
			n++
			audience.Kind, audience.Body = streams.KindMessage, []byte(invocation(n))
			c.publishEntry(n%3, &audience)
		}
		send(streams.Entry{Users: []string{"ann"}})
		n = 9
		send(streams.Entry{Users: []string{"ann@mail"}})
		send(streams.Entry{Groups: []string{"mails"}})
		n = 1
		send(streams.Entry{Groups: []string{"anns"}})
		if _, err := c.nodes[1].JoinUser(c.ctx, hubName, "ann", "more", 0); err != nil {
			t.Fatal(err)
		}
		send(streams.Entry{Groups: []string{"more"}})
		s.expect(invocations(1, 3))
		e.expectEvents(invocations(1, 3))
		k.pollNext(2).expect(200, invocations(1, 3))
		same.pollNext(1).expect(200, invocations(1, 3))

		s.cut()
		synctest.Wait()
		send(streams.Entry{Users: []string{"ann"}})
		back := s.returns(2, 1, method("Who", "1", "[]"))
		back.expect(sequence(1) + invocations(1, 4) + result("1", `"ann"`))
		same.pollNext(1).expect(200, invocation(4))
		for _, id := range []string{s.id, e.id, k.id, same.id} {
			if r, err := c.nodes[0].Lookup(c.ctx, hubName, id); err != nil || r.Record.User != "ann" {
				t.Errorf("the record's user is %q, %v", r.Record.User, err)
			}
		}
		for user, want := range map[string]int64{"ann": 4, "ann@mail": 0} {
			if got, err := c.nodes[0].Count(c.ctx, hubName, streams.HolderUser, user); err != nil || got != want {
				t.Errorf("%s has %d connections, %v, want %d", user, got, err, want)
			}
		}
		c.as("ann") // the token decides who may go on
		k.want("a poll of another's", k.do(0, http.MethodGet, "", ""), 404, "No Connection with that ID")
		send(streams.Entry{Users: []string{"ann"}})
		same.want("a poll of another's, of a connection that goes on", same.do(1, http.MethodGet, "", ""), 404, "No Connection with that ID")
	})
}

// Whose connection ends while the upstream is asked, which lets it in, has not begun: the upstream is told so.
func TestAnUpstreamIsToldOfWhatDidNotBegin(t *testing.T) {
	for name, shakesHands := range map[string]func(k *connection) (over func()){
		"socket": func(k *connection) func() {
			s := k.dialSocket(0)
			s.sendText(handshakeJSON)
			return s.expectEnd
		},
		"posted": func(k *connection) func() {
			k.poll(0, "1").expect(200, "")
			waiting := make(chan answer, 1)
			go func() { waiting <- k.do(1, http.MethodPost, "", handshakeJSON) }()
			return func() { k.want("handshake", <-waiting, 404, "No Connection with that ID") }
		},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			a := &app{}
			c := newCluster(t, 2, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
			open := a.gate("connected")
			k := c.negotiate()
			over := shakesHands(k)
			synctest.Wait()
			if _, err := c.nodes[1].End(c.ctx, hubName, k.id, ""); err != nil {
				t.Fatal(err)
			}
			open()
			over()
			a.wantTold(t, connected, `disconnected disconnected {"type":11,"error":"The connection did not begin."}`)
		})
	}
}

func TestAnUpstreamDecidesWhichSocketsOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := &app{}
		c := newCluster(t, 1, a.with, func(cfg *transports.Config) { cfg.Authorize = true })
		const refusal = `{"error":"The application refused the connection."}` + "\x1e"
		for _, along := range []string{"", ping, `{"ty`} { // what a client sends along with its handshake must not bring the node down
			refused := c.negotiate(userOf("eve")).dialSocket(0)
			refused.sendText(handshakeJSON, along)
			refused.expectFrame(refusal, ws.OpText)
			refused.expectClose(ws.StatusNormalClosure)
		}
		e := c.negotiate(userOf("eve")).openEvents(0)
		e.post(0, handshakeJSON)
		e.expectEvents(refusal)
		e.expectEnd()
		a.mu.Lock()
		a.told = nil
		a.mu.Unlock()
		open := a.gate("connected")
		k := c.negotiate()
		s := k.dialSocket(0)
		s.sendText(handshakeJSON)
		s.expectNothing(5 * time.Second) // it waits for the answer
		open()
		s.expect(accepted)
		s.sendText(method("Add", "1", "[]"))
		s.expect(result("1", 42))
		a.wantTold(t, connected, told("Add", "2", "1", "[]"))
	})
}
