package transports_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestPostsToAnyNodeAreTakenInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		k := c.openPolling(handshakeJSON)
		want := ""
		for n := range 30 {
			k.post(n%3, call(n)+ping)
			want += failure(n)
		}
		k.poll(0, "10").expect(200, want)
	})
}

func TestPipelinedMessagesAfterAPostedHandshake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		k := c.negotiate()
		k.poll(0, "1").expect(200, "")
		k.post(1, handshakeJSON+call(0)+call(1))
		k.poll(0, "2").expect(200, accepted+failure(0)+failure(1))
	})
}

func TestBadPosts(t *testing.T) {
	for name, post := range map[string]struct {
		body, answer, text string
	}{
		"inside a message": {`{"type":6}` + "\x1e" + `{"type"`, "the body ends inside a message", ""},
		"no type":          {"{}\x1e", "Missing required property 'type'.", ""},
		"over the limit":   {strings.Repeat(" ", 33<<10) + ping, "the maximum message size of 32768 bytes was exceeded", ""},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			c := newCluster(t, 2)
			other := c.openPolling(handshakeJSON)
			k := c.openPolling(handshakeJSON)
			waiting := k.poll(0, "10").expectNothing(time.Second)
			k.want("POST", k.do(1, http.MethodPost, "", post.body), 400, post.answer)
			waiting.expect(200, closeMessage("Connection closed with an error. "+post.answer))
			k.poll(1, "11").expect(404, "No Connection with that ID")
			c.publish(0, 1)
			other.poll(1, "10").expect(200, invocation(1))
		})
	}
	bubbleRun(t, "body over the limit", func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		a := k.do(0, http.MethodPost, "", strings.Repeat(ping, 1<<20/len(ping)+1))
		k.want("POST", a, 413, "the body is over the limit of 1048576 bytes")
		k.wantRecord(true)
	})
	bubbleRun(t, "body that does not come", func(t *testing.T) {
		c := newCluster(t, 1)
		k := c.openPolling(handshakeJSON)
		conn := c.nodes[0].dial()
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST /"+hubName+"?id="+k.token+" HTTP/1.1\r\nHost: node\r\nContent-Length: 100\r\n\r\n{")
		var b [64]byte
		n, err := conn.Read(b[:])
		if got := string(b[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 400") {
			t.Errorf("got %q %v, want 400", got, err)
		}
		k.wantRecord(true)
	})
}
