package transports_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"hubstream/negotiate/access"
	"hubstream/transports"
)

const (
	oneCall  = "{\"type\":1,\"target\":\"m\",\"arguments\":[]}\x1e"
	pingText = "{\"type\":6}\x1e"
	tooFast  = `{"type":7,"error":"Connection closed with an error. The client sent more messages a second than are allowed.","allowReconnect":true}` + "\x1e"
	userFull = "the user has %d connections in the hub open at this node, which is the limit"
	hostFull = "the address has %d connections open at this node, which is the limit"
)

func TestAUserHasNoMoreSocketsAndStreamsThanAllowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) { cfg.MaxUserConnections = 2 })
		c.as("ann")
		first := c.negotiate(userOf("ann")).openSocket(0, handshakeJSON)
		stream := c.negotiate(userOf("ann")).openEvents(0).shakesHands(0)
		refused := c.negotiate(userOf("ann"))
		refused.wantRefused(0, http.StatusTooManyRequests, fmt.Sprintf(userFull, 2))
		refused.wantRecord(false)
		c.negotiate(userOf("ann")).wantNoEvents(0, http.StatusTooManyRequests, fmt.Sprintf(userFull, 2))
		polling := c.negotiate(userOf("ann"))
		polling.want("a poll", polling.do(0, http.MethodGet, "", ""), 200, "")
		c.negotiate(userOf("ann")).openSocket(1, handshakeJSON) // another node counts for itself
		c.as("eve")
		c.negotiate(userOf("eve")).openSocket(0, handshakeJSON)
		c.as("")
		for range 3 {
			c.negotiate().openSocket(0, handshakeJSON) // of nobody
		}
		c.as("ann")
		first.cut()
		synctest.Wait()
		again := c.negotiate(userOf("ann")).openSocket(0, handshakeJSON)
		_ = stream.conn.Close()
		synctest.Wait()
		c.negotiate(userOf("ann")).openSocket(0, handshakeJSON)
		again.sendText("{\"type\":7}\x1e") // its client closes it
		again.expectClose(ws.StatusNormalClosure)
		again.cut()
		synctest.Wait()
		c.negotiate(userOf("ann")).openEvents(0)
		if n := c.nodes[0].server.Counts().Limits["connections"]; n != 2 {
			t.Errorf("%d refusals are counted", n)
		}
	})
}

// A client that comes back to its connection is not refused, though its old socket may not have been noticed to be gone.
func TestReturningClientIsNotOneTooMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.MaxUserConnections = 1 })
		c.as("ann")
		k := c.negotiate(userOf("ann"), stateful)
		k.openHeard(0)
		back := k.dialSocket(0)
		back.sendText("{\"type\":9,\"sequenceId\":1}\x1e")
		back.expect("{\"type\":9,\"sequenceId\":1}\x1e")
		k.negotiate(userOf("ann")).wantRefused(0, http.StatusTooManyRequests, fmt.Sprintf(userFull, 1))
	})
}

// A JavaScript client takes what its abandoned socket is answered, when it opens it again, for the end of the connection that it has
// now: it is never told that it has too many.
func TestAbandonedSocketIsNotOneTooMany(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.MaxUserConnections, cfg.MaxAddressConnections = 1, 1 })
		c.who.Store(&access.Identity{Authenticated: true, User: "ann", Address: "192.0.2.1"})
		k := c.negotiate(userOf("ann"), stateful)
		s := k.openHeard(0)
		s.cut()
		synctest.Wait()
		ghost := k.dialSocket(0)
		time.Sleep(3 * time.Second) // it is silent: its client has another connection
		ghost.cut()
		synctest.Wait()
		c.negotiate(userOf("ann")).openSocket(0, handshakeJSON) // which is this one, all that it may have
		again := k.dialSocket(0)
		again.sendText(sequence(1))
		again.expectEnd()
		k.wantRecord(false)
	})
}

// A connection takes sockets that say nothing, as scripts abandon some: who opens one after the other has no more of them than there is
// room for, and keeps the connection.
func TestAbandonedSocketsAreNotWithoutNumber(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.MaxUserConnections, cfg.MaxAddressConnections = 2, 1 })
		c.who.Store(&access.Identity{Authenticated: true, User: "ann", Address: "192.0.2.1"})
		k := c.negotiate(userOf("ann"), stateful)
		s := k.openHeard(0)
		ghosts := []*socket{}
		for range 19 {
			ghosts = append(ghosts, k.dialSocket(0))
		}
		k.wantRefused(0, http.StatusTooManyRequests, fmt.Sprintf(hostFull, 20))
		ghosts[0].cut()
		synctest.Wait()
		k.dialSocket(0)
		c.who.Store(&access.Identity{Authenticated: true, User: "ann", Address: "192.0.2.2"})
		for range 4 {
			k.dialSocket(0)
		}
		k.wantRefused(0, http.StatusTooManyRequests, fmt.Sprintf(userFull, 24))
		k.wantRecord(true)
		c.publish(0, 1)
		s.expect(invocation(1))
	})
}

func TestAnAddressHasNoMoreSocketsAndStreamsThanAllowed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.MaxAddressConnections = 1 })
		c.who.Store(&access.Identity{Address: "192.0.2.1"})
		p := c.openPlain(0, "")
		c.negotiate().wantRefused(0, http.StatusTooManyRequests, fmt.Sprintf(hostFull, 1))
		a := c.do(c.ctx, 0, http.MethodGet, "plain", "")
		c.want("a plain event stream", a, http.StatusTooManyRequests, "refused: "+fmt.Sprintf(hostFull, 1)+"\n")
		if a.header.Get("Retry-After") == "" {
			t.Error("it does not say when to come again")
		}
		c.who.Store(&access.Identity{Address: "192.0.2.2"})
		c.negotiate().openSocket(0, handshakeJSON)
		c.who.Store(&access.Identity{Address: "192.0.2.1"})
		_ = p.conn.Close()
		synctest.Wait()
		c.negotiate().openSocket(0, handshakeJSON)
	})
}

func TestSocketThatSendsTooFastIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.MessageRate = 5 })
		k := c.negotiate()
		s := k.openSocket(0, handshakeJSON)
		s.sendText(strings.Repeat(pingText, 50)) // these do not count
		s.sendText(strings.Repeat(oneCall, 10))  // two seconds' worth
		time.Sleep(time.Second)
		s.sendText(strings.Repeat(oneCall, 5))
		synctest.Wait()
		k.wantRecord(true)
		s.sendText(oneCall)
		s.expect(tooFast)
		s.expectClose(ws.StatusNormalClosure)
		k.wantRecord(false)
		if counts := c.nodes[0].server.Counts(); counts.Closed["rate"] != 1 || counts.Limits["rate"] != 1 {
			t.Errorf("got %v %v", counts.Closed, counts.Limits)
		}
	})
}

// A client whose socket was dead for a while sends at once what it has sent meanwhile, within its rate.
func TestClientThatComesBackIsReadNoFasterThanItsRate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, func(cfg *transports.Config) { cfg.MessageRate = 5 })
		a := c.openAndCut(0)
		calls, want := "", sequence(1)
		for n := 1; n <= 30; n++ { // in 10 s, say
			calls += call(n)
			want += failure(n)
		}
		began := time.Now()
		b := a.returns(1, 1, calls)
		got := ""
		for len(got) < len(want) {
			f, err := b.next()
			if err != nil {
				t.Fatalf("got the end (%v) after %q", err, got)
			}
			if !strings.HasPrefix(string(f.Payload), `{"type":8,`) && string(f.Payload) != ping {
				got += string(f.Payload)
			}
		}
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("the last was taken after %v, want two seconds' worth at once and the others as its rate is", took)
		}
		b.wantRecord(true)
	})
}

// What it has not taken when the socket ends it takes when the client comes back again.
func TestClientThatIsCutOffWhileItsMessagesWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, func(cfg *transports.Config) { cfg.MessageRate = 5 })
		a := c.openAndCut(0)
		calls, want := "", ""
		for n := 1; n <= 20; n++ {
			calls += call(n)
			want += failure(n)
		}
		gone := a.dialSocket(1)
		go gone.sendText(sequence(1), calls) // the pipe takes it as it is read
		time.Sleep(1100 * time.Millisecond)
		done := c.drain(1)
		began := time.Now()
		<-done
		if took := time.Since(began); took > time.Second {
			t.Errorf("the node has stopped after %v", took)
		}
		r, _ := a.record()
		if r.Done < 10 || r.Done == 20 {
			t.Fatalf("%d messages were taken", r.Done)
		}
		b := a.returns(2, 1, calls)
		time.Sleep(10 * time.Second)
		if r, _ := b.record(); r.Done != 20 {
			t.Errorf("%d messages were taken, want 20", r.Done)
		}
		synctest.Wait()
		got := ""
		for _, m := range strings.SplitAfter(b.waiting(), "\x1e") {
			if strings.HasPrefix(m, `{"type":3,`) {
				got += m
			}
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestPostsThatAreTooManyCloseTheConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1, func(cfg *transports.Config) { cfg.MessageRate = 5 })
		k := c.openPolling(handshakeJSON)
		k.post(0, strings.Repeat(pingText, 50)+strings.Repeat(oneCall, 9))
		k.post(0, oneCall)
		a := k.do(0, http.MethodPost, "", oneCall)
		k.want("one more", a, http.StatusTooManyRequests, "the client sends more messages a second than are allowed")
		if a.header.Get("Retry-After") == "" {
			t.Error("it does not say when to come again")
		}
		k.poll(0, "9").expect(200, tooFast)
		other := c.negotiate()
		other.poll(0, "1").expect(200, "")
		other.post(0, handshakeJSON+oneCall)
	})
}
