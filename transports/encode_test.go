package transports

import (
	"sync"
	"testing"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// An entry is encoded once for each protocol and framing, whoever needs it first: all
// receivers share the bytes.
func TestReceiversShareOneEncoding(t *testing.T) {
	t.Parallel()
	item := &streams.Item{Entry: streams.Entry{Body: []byte(`{"type":1,"target":"m","arguments":[1]}` + "\x1e")}}
	for name, encode := range map[string]func() []byte{
		"text frame":   func() []byte { return item.Encoding(frameOf(hubprotocol.JSON)) },
		"binary frame": func() []byte { return item.Encoding(frameOf(hubprotocol.MessagePack)) },
		"event":        func() []byte { return item.Encoding(eventFormat) },
		"JSON":         func() []byte { return message(item, hubprotocol.JSON) },
		"MessagePack":  func() []byte { return message(item, hubprotocol.MessagePack) },
	} {
		first := encode()
		var receivers sync.WaitGroup
		for range 8 {
			receivers.Go(func() {
				if b := encode(); &b[0] != &first[0] {
					t.Errorf("%s: encoded again", name)
				}
			})
		}
		receivers.Wait()
	}
}

// A message that a protocol cannot carry keeps its number.
func TestMessageThatCannotBeShownIsABlank(t *testing.T) {
	t.Parallel()
	item := &streams.Item{Entry: streams.Entry{Body: []byte("what is this\x1e")}}
	if got, want := string(item.Encoding(frameOf(hubprotocol.MessagePack))), string(binaryFrame(hubprotocol.AppendBlank(nil, hubprotocol.MessagePack))); got != want {
		t.Errorf("frame: got %q, want a blank %q", got, want)
	}
	if got := message(item, hubprotocol.MessagePack); got != nil {
		t.Errorf("in a poll: got %q, want nothing", got)
	}
}

func TestEventsOfMessagesWithLineEnds(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"a\x1e":         "data: a\x1e\r\n\r\n",
		"a\nb\x1e":      "data: a\r\ndata: b\x1e\r\n\r\n",
		"a\r\n\r\nb":    "data: a\r\ndata: \r\ndata: b\r\n\r\n",
		"a\n":           "data: a\r\ndata: \r\n\r\n",
		":no comment\n": "data: :no comment\r\ndata: \r\n\r\n",
	} {
		if got := string(appendEvent(nil, []byte(data))); got != want {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
	}
}
