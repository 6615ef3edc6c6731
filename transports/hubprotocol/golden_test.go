package hubprotocol_test

import (
	"bytes"
	"testing"

	"hubstream/transports/hubprotocol"
)

// inbound are messages as official clients send them, in bytes of their own making.
var inbound = []struct {
	name string
	hex  string // MessagePack
	text string // JSON
	want hubprotocol.Message
	args string // hex of the arguments, item or result
}{{
	name: "ping", hex: "02 91 06", text: `{"type":6}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Ping},
}, {
	name: "non-blocking invocation", hex: "0f 95 01 80 c0 a4 53 65 6e 64 93 2a a2 68 69 c0",
	text: `{"target":"Send","arguments":[42,"hi",null],"type":1}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Invocation, Target: "Send", Arguments: []byte(`[42,"hi",null]`)},
	args: "93 2a a2 68 69 c0",
}, {
	name: "invocation 0", hex: "0c 95 01 80 a1 30 a3 41 64 64 92 01 02",
	text: `{"target":"Add","arguments":[1,2],"invocationId":"0","type":1}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Invocation, InvocationID: "0", Target: "Add", Arguments: []byte(`[1,2]`)},
	args: "92 01 02",
}, {
	name: "invocation with a stream", hex: "0c 96 01 80 a1 31 a2 55 70 90 91 a1 32",
	text: `{"target":"Up","arguments":[],"streamIds":["2"],"invocationId":"1","type":1}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Invocation, InvocationID: "1", Target: "Up", Arguments: []byte(`[]`), StreamIDs: []string{"2"}},
	args: "90",
}, {
	name: "invocation of six items", hex: "09 96 01 80 c0 a1 61 91 2a 90",
	text: `{"type":1,"target":"a","arguments":[42],"invocationId":null}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Invocation, Target: "a", Arguments: []byte(`[42]`)},
	args: "91 2a",
}, {
	name: "invocation with trace headers", hex: "0e 95 01 81 a2 74 70 a2 30 30 c0 a1 61 91 2a",
	text: `{"type":1,"headers":{"tp":"00"},"target":"a","arguments":[42]}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Invocation, Target: "a", Arguments: []byte(`[42]`)},
	args: "91 2a",
}, {
	name: "stream item", hex: "06 94 02 80 a1 32 07", text: `{"type":2,"invocationId":"2","item":7}␞`,
	want: hubprotocol.Message{Type: hubprotocol.StreamItem, InvocationID: "2", Item: []byte(`7`)},
	args: "07",
}, {
	name: "completion void", hex: "06 94 03 80 a1 32 02", text: `{"type":3,"invocationId":"2"}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Completion, InvocationID: "2"},
}, {
	name: "completion nil", hex: "07 95 03 80 a1 32 03 c0", text: `{"type":3,"invocationId":"2","result":null}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Completion, InvocationID: "2", Result: []byte(`null`), HasResult: true},
	args: "c0",
}, {
	name: "completion 42", hex: "07 95 03 80 a1 32 03 2a", text: `{"type":3,"invocationId":"2","result":42}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Completion, InvocationID: "2", Result: []byte(`42`), HasResult: true},
	args: "2a",
}, {
	name: "completion error", hex: "0c 95 03 80 a1 32 01 a5 45 72 72 6f 72", text: `{"type":3,"invocationId":"2","error":"Error"}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Completion, InvocationID: "2", Error: "Error"},
}, {
	name: "stream invocation", hex: "0f 95 04 80 a1 33 a7 43 6f 75 6e 74 65 72 91 05",
	text: `{"type":4,"invocationId":"3","target":"Counter","arguments":[5]}␞`,
	want: hubprotocol.Message{Type: hubprotocol.StreamInvocation, InvocationID: "3", Target: "Counter", Arguments: []byte(`[5]`)},
	args: "91 05",
}, {
	name: "cancel invocation", hex: "05 93 05 80 a1 33", text: `{"type":5,"invocationId":"3"}␞`,
	want: hubprotocol.Message{Type: hubprotocol.CancelInvocation, InvocationID: "3"},
}, {
	name: "close of two items", hex: "03 92 07 c0", text: `{"type":7}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Close},
}, {
	name: "close of three items", hex: "04 93 07 c0 c2", text: `{"type":7,"error":null,"allowReconnect":false}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Close},
}, {
	name: "close with reconnect", hex: "04 93 07 c0 c3", text: `{"type":7,"allowReconnect":true}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Close, AllowReconnect: true},
}, {
	name: "ack 36", hex: "03 92 08 24", text: `{"type":8,"sequenceId":36}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Ack, SequenceID: 36},
}, {
	name: "ack 300", hex: "05 92 08 cd 01 2c", text: `{"type":8,"sequenceId":300}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Ack, SequenceID: 300},
}, {
	name: "ack 1 in eight bytes", hex: "0b 92 08 d3 00 00 00 00 00 00 00 01", text: ` {"sequenceId" : 1 , "type":8 }` + "\r\n" + `␞`,
	want: hubprotocol.Message{Type: hubprotocol.Ack, SequenceID: 1},
}, {
	name: "sequence 1", hex: "03 92 09 01", text: `{"type":9,"sequenceId":1}␞`,
	want: hubprotocol.Message{Type: hubprotocol.Sequence, SequenceID: 1},
}, {
	name: "unknown type", hex: "03 92 2a 80", text: `{"type":42,"what":[{}]}␞`,
	want: hubprotocol.Message{Type: 42},
}, {
	name: "type beyond all types", hex: "04 91 cd 01 06", text: `{"type":262}␞`,
	want: hubprotocol.Message{},
}, {
	name: "surplus", hex: "09 95 05 80 a1 33 92 01 90 c0",
	text: `{"type":5,"invocationId":"3","more":[1,[]],"most":null}␞`,
	want: hubprotocol.Message{Type: hubprotocol.CancelInvocation, InvocationID: "3"},
}}

func TestMessagesOfOfficialClients(t *testing.T) {
	t.Parallel()
	for _, test := range inbound {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := test.want
			want.Raw = records(test.text)
			wantMessages(t, feed(t, JSON, want.Raw), want)

			want.Raw = unhex(t, test.hex)
			args := unhex(t, test.args)
			if want.Arguments != nil {
				want.Arguments = args
			}
			if want.Item != nil {
				want.Item = args
			}
			if want.HasResult {
				want.Result = args
			}
			wantMessages(t, feed(t, MessagePack, want.Raw), want)
		})
	}
}

func TestOutboundBytes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		append func(dst []byte, p hubprotocol.Protocol) []byte
		text   string
		hex    string
	}{
		{"ping", hubprotocol.AppendPing, `{"type":6}␞`, "02 91 06"},
		{"close", closeWith("", false), `{"type":7}␞`, "04 93 07 c0 c2"},
		{"close with reconnect", closeWith("", true), `{"type":7,"allowReconnect":true}␞`, "04 93 07 c0 c3"},
		{"close with error", closeWith(`"x"`, true), `{"type":7,"error":"\"x\"","allowReconnect":true}␞`, "07 93 07 a3 22 78 22 c3"},
		{"ack 36", ack(36), `{"type":8,"sequenceId":36}␞`, "03 92 08 24"},
		{"ack 128", ack(128), `{"type":8,"sequenceId":128}␞`, "04 92 08 cc 80"},
		{"ack 300", ack(300), `{"type":8,"sequenceId":300}␞`, "05 92 08 cd 01 2c"},
		{"sequence 1", sequence(1), `{"type":9,"sequenceId":1}␞`, "03 92 09 01"},
		{"completion error", completionError("2", "Error"), `{"type":3,"invocationId":"2","error":"Error"}␞`, "0c 95 03 80 a1 32 01 a5 45 72 72 6f 72"},
		{"completion void", completionVoid("2"), `{"type":3,"invocationId":"2"}␞`, "06 94 03 80 a1 32 02"},
		{"completion with an odd ID", completionVoid("\x1e\\\xff"), `{"type":3,"invocationId":"\u001e\\` + "\uFFFD" + `"}␞`, "0a 94 03 80 a5 1e 5c ef bf bd 02"},
		{"blank", hubprotocol.AppendBlank, `{"type":3,"invocationId":"-"}␞`, "06 94 03 80 a1 2d 02"},
	} {
		if got, want := test.append([]byte("before"), JSON), append([]byte("before"), records(test.text)...); !bytes.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", test.name, got, want)
		}
		if got, want := test.append([]byte("before"), MessagePack), append([]byte("before"), unhex(t, test.hex)...); !bytes.Equal(got, want) {
			t.Errorf("%s: got % x, want % x", test.name, got, want)
		}
	}
}

type appender = func(dst []byte, p hubprotocol.Protocol) []byte

func closeWith(text string, reconnect bool) appender {
	return func(dst []byte, p hubprotocol.Protocol) []byte {
		return hubprotocol.AppendClose(dst, p, text, reconnect)
	}
}

func ack(n uint64) appender {
	return func(dst []byte, p hubprotocol.Protocol) []byte { return hubprotocol.AppendAck(dst, p, n) }
}

func sequence(n uint64) appender {
	return func(dst []byte, p hubprotocol.Protocol) []byte { return hubprotocol.AppendSequence(dst, p, n) }
}

func completionError(id, text string) appender {
	return func(dst []byte, p hubprotocol.Protocol) []byte {
		return hubprotocol.AppendCompletionError(dst, p, id, text)
	}
}

func completionVoid(id string) appender {
	return func(dst []byte, p hubprotocol.Protocol) []byte { return hubprotocol.AppendCompletionVoid(dst, p, id) }
}

func TestTrackable(t *testing.T) {
	t.Parallel()
	for n := range 12 {
		if got, want := hubprotocol.MessageType(n).Trackable(), n >= 1 && n <= 5; got != want {
			t.Errorf("type %d: got %v, want %v", n, got, want)
		}
	}
}

func TestProtocolNames(t *testing.T) {
	t.Parallel()
	for _, p := range []hubprotocol.Protocol{JSON, MessagePack} {
		if got, ok := hubprotocol.ParseProtocol(p.String()); got != p || !ok {
			t.Errorf("%s: got %v, %v", p, got, ok)
		}
	}
	if JSON.TransferFormat() != "Text" || MessagePack.TransferFormat() != "Binary" {
		t.Error("JSON is for text frames, MessagePack for binary ones")
	}
	if _, ok := hubprotocol.ParseProtocol(""); ok {
		t.Error("no name is no protocol")
	}
}
