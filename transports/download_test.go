package transports_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"hubstream/internal/upstream"
)

// What an upstream may answer to a stream invocation, and what its client gets of that.
func TestWhatBecomesOfAStreamsAnswer(t *testing.T) {
	const ndjson, json, msgpack = "application/x-ndjson", "application/json", "application/x-msgpack"
	long := `"` + strings.Repeat("x", 10<<10) + `"`
	large := `"` + strings.Repeat("x", 300<<10) + `"`
	overLimit := "Invocation failed: an item is over the limit of 262144 bytes."
	for name, c := range map[string]struct {
		handshake, contentType string
		status                 int
		body                   string
		cutOff                 bool   // behind body
		want                   string // of JSON
		begin                  bool   // want is how it begins
	}{
		"lines":                         {contentType: ndjson + "; charset=utf-8", body: "1\r\n\n \n 2 \n3", want: item("7", 1) + item("7", 2) + item("7", 3) + void("7")},
		"nothing":                       {contentType: ndjson, want: void("7")},
		"long lines":                    {contentType: ndjson, body: long + "\n2\n" + long + "\n", want: item("7", long) + item("7", 2) + item("7", long) + void("7")},
		"a line over the limit":         {contentType: ndjson, body: large + "\n2\n", want: failed("7", overLimit)},
		"a line that does not end":      {contentType: ndjson, body: "1\n2", cutOff: true, want: item("7", 1) + failed("7", "Invocation failed: the upstream cut off its answer.")},
		"no JSON":                       {contentType: ndjson, body: "1\n{\n3\n", want: item("7", 1) + `{"type":3,"invocationId":"7","error":"Invocation failed: the upstream's item cannot be sent: `, begin: true},
		"another status":                {contentType: ndjson, status: 500, body: "1\n", want: failed("7", "Invocation failed, status code 500")},
		"a picture":                     {contentType: "image/png", body: "1\n", want: failed("7", `Invocation failed: the upstream answered with the content type \"image/png\".`)},
		"MessagePack for who has none":  {contentType: msgpack, body: "\x01", want: failed("7", `Invocation failed: the upstream answered with the content type \"application/x-msgpack\".`)},
		"a Completion":                  {contentType: json, body: failed("7", "no"), want: failed("7", "no")},
		"one without a content type":    {body: failed("7", "no"), want: failed("7", "no")},
		"one with a result":             {contentType: json, body: result("7", 1), want: failed("7", "The client attempted to invoke a non-streaming method with a streaming invocation.")},
		"one that is cut off":           {contentType: json, body: "1\n2", cutOff: true, want: failed("7", "Invocation failed: the upstream cut off its answer.")},
		"MessagePack":                   {handshake: handshakeMessagePack, contentType: msgpack, body: "\x01\x92\x02\xa1a\xc0", want: item("7", 1) + item("7", `[2,"a"]`) + item("7", "null") + void("7")},
		"lines for MessagePack clients": {handshake: handshakeMessagePack, contentType: ndjson, body: "1\n[2,\"a\"]\n", want: item("7", 1) + item("7", `[2,"a"]`) + void("7")},
		"MessagePack that is cut off":   {handshake: handshakeMessagePack, contentType: msgpack, body: "\x01\x92\x02", want: item("7", 1) + failed("7", "Invocation failed: the upstream cut off its answer.")},
		"MessagePack over the limit": {handshake: handshakeMessagePack, contentType: msgpack, want: item("7", 1) + failed("7", overLimit),
			body: "\x01\xdb\x00\x04\xb0\x00" + strings.Repeat("x", 300<<10)},
	} {
		bubbleRun(t, name, func(t *testing.T) {
			b := &backend{answer: func(context.Context, *upstream.Request) (*upstream.Stream, error) {
				var body io.Reader = strings.NewReader(c.body)
				if c.cutOff {
					body = io.MultiReader(body, iotest.ErrReader(io.ErrUnexpectedEOF))
				}
				return upstream.NewStream(max(c.status, http.StatusOK), c.contentType, body, func() {}), nil
			}}
			if c.handshake == "" {
				c.handshake = handshakeJSON
			}
			s := newCluster(t, 1, b.with).negotiate().openSocket(0, c.handshake)
			if c.handshake == handshakeMessagePack {
				s.sendBinary("\x0a\x95\x04\x80\xa17\xa3Any\x90")
				s.expectBinary(packed(c.want))
				return
			}
			s.sendText(streamCall("Any", "7"))
			if !c.begin {
				s.expect(c.want)
				return
			}
			got := ""
			for len(got) < len(c.want) {
				got += payload(s)
			}
			if !strings.HasPrefix(got, c.want) || strings.Count(got, `"type":3`) != 1 {
				t.Errorf("got %q, want %q and more", got, c.want)
			}
		})
	}
}

// What a connection has of streams is limited, and whom it would be taken from goes on.
func TestStreamsOfAConnectionAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &backend{answer: func(ctx context.Context, r *upstream.Request) (*upstream.Stream, error) { return flows(ctx, silent) }}
		s := newCluster(t, 1, b.with).negotiate().openSocket(0, handshakeJSON)
		var ids []string
		for n := range 17 {
			ids = append(ids, fmt.Sprintf(`"s%d"`, n))
		}
		up := func(id string, streams ...string) string {
			return fmt.Sprintf(`{"type":1,"invocationId":"%s","target":"Up","arguments":[],"streamIds":[%s]}`+"\x1e", id, strings.Join(streams, ","))
		}
		s.sendText(up("1", ids...))
		s.expect(failed("1", "The invocation has 17 streams, the limit is 16."))
		s.sendText(up("1", ids[:16]...), up("2", `"other"`), up("3", `"more"`, ids[7]))
		s.expect(failed("3", "Stream ID 's7' is already in use."))
		for n := range 98 {
			s.sendText(streamCall("Any", fmt.Sprint("c", n)))
		}
		s.sendText(streamCall("Any", "3"))
		s.expect(failed("3", "The connection has 100 streams under way, which is the limit."))
		s.sendText(method("Add", "3", "[]")) // it is none
		s.expect(result("3", 42))
		s.sendText(`{"type":5,"invocationId":"c5"}` + "\x1e")
		s.expect(void("c5"))
		long := strings.Repeat("x", 257)
		s.sendText(streamCall("Any", long))
		s.expect(failed(long, "The invocation ID has 257 bytes, the limit is 256."))
	})
}
