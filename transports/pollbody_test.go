package transports

import (
	"bytes"
	"strings"
	"testing"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// A message that is a poll's whole answer is written as it is: with a copy for each of a thousand pollers a message of 1 MiB would take
// 1 GiB for as long as the slowest of them reads.
func TestPollsShareAMessageThatIsTheirAnswer(t *testing.T) {
	text := `{"type":1,"target":"m","arguments":["` + strings.Repeat("x", 1<<20) + "\"]}\x1e"
	large := &streams.Item{Entry: streams.Entry{Kind: streams.KindMessage, Body: []byte(text)}}
	for _, proto := range []hubprotocol.Protocol{hubprotocol.JSON, hubprotocol.MessagePack} {
		one, other := &poll{proto: proto}, &poll{proto: proto}
		first, _ := one.body([]*streams.Item{large})
		second, final := other.body([]*streams.Item{large})
		if &(*first)[0] != &(*second)[0] || final {
			t.Errorf("protocol %v: each poll has a copy", proto)
		}
		both, _ := one.body([]*streams.Item{large, large})
		if want := append(bytes.Clone(*first), *first...); !bytes.Equal(*both, want) || &(*both)[0] == &(*first)[0] {
			t.Errorf("protocol %v: two messages are not joined, or where the first one is", proto)
		}
	}
	handshake := &streams.Item{Entry: streams.Entry{
		Kind: streams.KindReply, Flags: streams.FlagHandshake | streams.FlagFinal, Protocol: uint8(hubprotocol.MessagePack), Body: []byte("{}\x1e"),
	}}
	p := &poll{}
	if body, final := p.body([]*streams.Item{handshake}); string(*body) != "{}\x1e" || !final || p.proto != hubprotocol.MessagePack {
		t.Errorf("a handshake's answer: %q, final %v, protocol %v", *body, final, p.proto)
	}
}
