package hubprotocol_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"hubstream/transports/hubprotocol"
)

// Arguments as they are published: a chat line, an update of many fields, a long text.
var payloads = []struct {
	name      string
	arguments string
}{
	{"chat", `["general",{"user":"alice","text":"Hello, is anybody there?","at":1731000000123}]`},
	{"records", "[[" + strings.Repeat(`{"id":123456,"symbol":"ABCD","bid":101.25,"ask":101.5,"open":true,"tags":["a","b"],"note":null},`, 39) +
		`{"id":1,"symbol":"Z","bid":1,"ask":2}]]`},
	{"spaced", "[\n  {\n    \"user\": \"alice\",\n    \"text\": \"Hello\",\n    \"list\": [\n      1,\n      2\n    ]\n  }\n]"},
	{"text", `["` + strings.Repeat("All work and no play makes Jack a dull boy. ", 100) + `"]`},
	{"unicode", `["` + strings.Repeat(`Съешь ещё этих мягких французских булок. `, 50) + `"]`},
	{"escapes", `["` + strings.Repeat(`a \"quoted\" line\n\u00e9`, 50) + `"]`},
}

func invocation(tb testing.TB, arguments string) []byte {
	message, err := hubprotocol.AppendInvocation(nil, "Send", []byte(arguments))
	if err != nil {
		tb.Fatal(err)
	}
	return message
}

func TestPublishingAllocatesNothing(t *testing.T) {
	dst := make([]byte, 0, 64<<10)
	for _, payload := range payloads {
		arguments, message := []byte(payload.arguments), invocation(t, payload.arguments)
		if n := testing.AllocsPerRun(100, func() { _, _ = hubprotocol.AppendInvocation(dst, "Send", arguments) }); n != 0 {
			t.Errorf("%s: AppendInvocation makes %v allocations", payload.name, n)
		}
		if n := testing.AllocsPerRun(100, func() { _, _ = hubprotocol.AppendMessagePack(dst, message) }); n != 0 {
			t.Errorf("%s: AppendMessagePack makes %v allocations", payload.name, n)
		}
	}
}

func TestControlMessagesAllocateNothing(t *testing.T) {
	dst := make([]byte, 0, 1<<10)
	for _, p := range []hubprotocol.Protocol{JSON, MessagePack} {
		if n := testing.AllocsPerRun(100, func() {
			b := hubprotocol.AppendPing(dst, p)
			b = hubprotocol.AppendAck(b, p, 1<<40)
			b = hubprotocol.AppendBlank(b, p)
			b = hubprotocol.AppendCompletionError(b, p, "17", "Unknown hub method 'X'")
			_ = hubprotocol.AppendClose(b, p, "Connection closed with an error.", true)
		}); n != 0 {
			t.Errorf("%s: %v allocations", p, n)
		}
	}
}

func TestParserAllocatesOnlyStrings(t *testing.T) {
	for _, test := range []struct {
		text string
		want float64
	}{
		{`{"type":6}␞`, 0},
		{`{"type":8,"sequenceId":300}␞`, 0},
		{`{"type":1,"target":"Send","arguments":[42,{"a":"b"}]}␞`, 1},
		{`{"type":1,"invocationId":"100","target":"Send","arguments":[42]}␞`, 2},
	} {
		parser, text := hubprotocol.NewParser(JSON, maxMessage), records(test.text)
		if n := testing.AllocsPerRun(100, func() { parseOne(t, parser, text) }); n != test.want {
			t.Errorf("%s: %v allocations, want %v", test.text, n, test.want)
		}
	}
}

func TestParserAllocatesNothingForControlMessages(t *testing.T) {
	for _, p := range []hubprotocol.Protocol{JSON, MessagePack} {
		parser := hubprotocol.NewParser(p, maxMessage)
		for name, message := range map[string][]byte{
			"ping": hubprotocol.AppendPing(nil, p), "ack": hubprotocol.AppendAck(nil, p, 1<<40),
		} {
			if n := testing.AllocsPerRun(100, func() { parseOne(t, parser, message) }); n != 0 {
				t.Errorf("%s in %s: %v allocations", name, p, n)
			}
		}
	}
}

func parseOne(tb testing.TB, parser *hubprotocol.Parser, stream []byte) {
	parser.Feed(stream)
	for range 2 {
		if _, _, err := parser.Next(); err != nil {
			tb.Fatal(err)
		}
	}
}

// Idle connections hold nothing of what passed through them.
func TestIdleParserHoldsNoMemory(t *testing.T) {
	parser := hubprotocol.NewParser(JSON, maxMessage)
	whole := invocation(t, payloads[1].arguments)
	for piece := range slicesOf(bytes.Repeat(whole, 3), 1000) {
		parser.Feed(piece)
		for ok := true; ok; {
			_, ok, _ = parser.Next()
		}
	}
	if !reflect.DeepEqual(parser, hubprotocol.NewParser(JSON, maxMessage)) {
		t.Errorf("got %+v, want it as new", parser)
	}
}

func BenchmarkAppendInvocation(b *testing.B) {
	for _, payload := range payloads {
		b.Run(payload.name, func(b *testing.B) {
			dst, arguments := make([]byte, 0, 64<<10), []byte(payload.arguments)
			b.SetBytes(int64(len(arguments)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := hubprotocol.AppendInvocation(dst, "Send", arguments); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendMessagePack(b *testing.B) {
	for _, payload := range payloads {
		b.Run(payload.name, func(b *testing.B) {
			dst, message := make([]byte, 0, 64<<10), invocation(b, payload.arguments)
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := hubprotocol.AppendMessagePack(dst, message); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParser(b *testing.B) {
	for _, payload := range payloads[:2] {
		message := invocation(b, payload.arguments)
		packed, err := hubprotocol.AppendMessagePack(nil, message)
		if err != nil {
			b.Fatal(err)
		}
		for p, stream := range map[hubprotocol.Protocol][]byte{JSON: message, MessagePack: packed} {
			b.Run(p.String()+"/"+payload.name, func(b *testing.B) {
				parser := hubprotocol.NewParser(p, maxMessage)
				b.SetBytes(int64(len(stream)))
				b.ReportAllocs()
				for b.Loop() {
					parseOne(b, parser, stream)
				}
			})
		}
	}
}
