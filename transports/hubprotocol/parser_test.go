package hubprotocol_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"hubstream/transports/hubprotocol"
)

const maxMessage = 4 << 20 // 4 MiB

// feed returns the messages of a stream that is fed in the given pieces and ends with a whole message.
func feed(tb testing.TB, p hubprotocol.Protocol, pieces ...[]byte) (messages []hubprotocol.Message) {
	tb.Helper()
	parser := hubprotocol.NewParser(p, maxMessage)
	for _, piece := range pieces {
		parser.Feed(piece)
		for {
			m, ok, err := parser.Next()
			if err != nil {
				tb.Fatalf("%.200q: %v", piece, err)
			}
			if !ok {
				break
			}
			messages = append(messages, clone(m))
		}
		for i := range piece { // it was ours: the parser must not look at it again
			piece[i] ^= 0xFF
		}
		defer func() {
			for i := range piece {
				piece[i] ^= 0xFF
			}
		}()
	}
	if parser.Buffered() != 0 {
		tb.Errorf("%d bytes remain", parser.Buffered())
	}
	return messages
}

func clone(m hubprotocol.Message) hubprotocol.Message {
	m.Arguments, m.Item = bytes.Clone(m.Arguments), bytes.Clone(m.Item)
	m.Result, m.Raw = bytes.Clone(m.Result), bytes.Clone(m.Raw)
	return m
}

func wantMessages(tb testing.TB, got []hubprotocol.Message, want ...hubprotocol.Message) {
	tb.Helper()
	if !reflect.DeepEqual(got, want) {
		tb.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// streams are all inbound messages one after another.
func streams(tb testing.TB) map[hubprotocol.Protocol][]byte {
	all := map[hubprotocol.Protocol][]byte{}
	for _, test := range inbound {
		all[JSON] = append(all[JSON], records(test.text)...)
		all[MessagePack] = append(all[MessagePack], unhex(tb, test.hex)...)
	}
	return all
}

func TestMessagesInAnyPieces(t *testing.T) {
	t.Parallel()
	for p, stream := range streams(t) {
		want := feed(t, p, bytes.Clone(stream))
		if len(want) != len(inbound) {
			t.Fatalf("%s: got %d messages at once, want %d", p, len(want), len(inbound))
		}
		for at := 1; at < len(stream); at++ {
			wantMessages(t, feed(t, p, bytes.Clone(stream[:at]), bytes.Clone(stream[at:])), want...)
		}
		for _, size := range []int{1, 2, 3, 7, 64} {
			var pieces [][]byte
			for piece := range slicesOf(stream, size) {
				pieces = append(pieces, bytes.Clone(piece))
			}
			wantMessages(t, feed(t, p, pieces...), want...)
		}
	}
}

func slicesOf(b []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 && yield(b[:min(size, len(b))]) {
			b = b[min(size, len(b)):]
		}
	}
}

func TestFeedTwiceBeforeNext(t *testing.T) {
	t.Parallel()
	first, second := records(`{"type":6}␞{"ty`), records(`pe":7}␞`)
	before := bytes.Clone(first[:cap(first)])
	parser := hubprotocol.NewParser(JSON, maxMessage)
	parser.Feed(first)
	parser.Feed(second)
	for _, want := range []hubprotocol.MessageType{hubprotocol.Ping, hubprotocol.Close} {
		if m, ok, err := parser.Next(); m.Type != want || !ok || err != nil {
			t.Errorf("got %v, %v, %v, want %v", m, ok, err, want)
		}
	}
	if !bytes.Equal(first[:cap(first)], before) {
		t.Error("the parser wrote into the caller's memory")
	}
}

func TestEveryTruncatedMessageIsIncomplete(t *testing.T) {
	t.Parallel()
	for _, test := range inbound {
		for p, whole := range map[hubprotocol.Protocol][]byte{JSON: records(test.text), MessagePack: unhex(t, test.hex)} {
			for n := range whole {
				parser := hubprotocol.NewParser(p, maxMessage)
				parser.Feed(whole[:n])
				if m, ok, err := parser.Next(); ok || err != nil {
					t.Errorf("%s, %d bytes: got %v, %v", test.name, n, m, err)
				}
				if parser.Buffered() != n {
					t.Errorf("%s: %d bytes buffered, want %d", test.name, parser.Buffered(), n)
				}
			}
		}
	}
}

// The same beginnings, framed as if they were all: none may pass for a message.
func TestEveryTruncatedMessageIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range inbound {
		text := bytes.TrimSpace(bytes.TrimSuffix(records(test.text), []byte{hubprotocol.RecordSeparator}))
		for n := range text {
			wantRefused(t, JSON, append(bytes.Clone(text[:n]), hubprotocol.RecordSeparator))
		}
		whole := unhex(t, test.hex)
		for n := range whole[1:] {
			wantRefused(t, MessagePack, append([]byte{byte(n)}, whole[1:1+n]...))
		}
	}
}

func wantRefused(tb testing.TB, p hubprotocol.Protocol, stream []byte) {
	tb.Helper()
	parser := hubprotocol.NewParser(p, maxMessage)
	parser.Feed(stream)
	m, ok, err := parser.Next()
	var bad *hubprotocol.MessageError
	if ok || !errors.As(err, &bad) {
		tb.Errorf("%s %q: got %v, %v, want it refused", p, stream, m, err)
	}
	if _, ok, again := parser.Next(); ok || again != err {
		tb.Errorf("%s %q: the error did not stay: %v", p, stream, again)
	}
}

func TestMalformedJSONMessages(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`:                                     "Missing required property 'type'.",
		``:                                       "expected a JSON object",
		`[1]`:                                    "expected a JSON object",
		`{"type":"1"}`:                           "Expected 'type' to be of type Number.",
		`{"type":1.0}`:                           "Expected 'type' to be of type Number.",
		`{"type":1}`:                             "Missing required property 'target'.",
		`{"type":1,"target":""}`:                 "Missing required property 'target'.",
		`{"type":1,"target":"x"}`:                "Missing required property 'arguments'.",
		`{"type":1,"target":"x","arguments":{}}`: "Expected 'arguments' to be of type Array.",
		`{"type":1,"target":5,"arguments":[]}`:   "Expected 'target' to be of type String.",
		`{"type":1,"target":"x","arguments":[1,{"a":[tru]}]}`:      `arguments[1].a[0]: unexpected "]" at byte 47`,
		`{"type":1,"target":"x","arguments":[],"streamIds":[1]}`:   "Expected 'streamIds' to be of type Array of String.",
		`{"type":4,"target":"x","arguments":[]}`:                   "Missing required property 'invocationId'.",
		`{"type":4,"invocationId":"","target":"x","arguments":[]}`: "Missing required property 'invocationId'.",
		`{"type":2,"item":1}`:                                      "Missing required property 'invocationId'.",
		`{"type":2,"invocationId":"1"}`:                            "Missing required property 'item'.",
		`{"type":3}`:                                               "Missing required property 'invocationId'.",
		`{"type":3,"invocationId":1}`:                              "Expected 'invocationId' to be of type String.",
		`{"type":3,"invocationId":"1","error":"x","result":1}`:     "The 'error' and 'result' properties are mutually exclusive.",
		`{"type":5}`:                                   "Missing required property 'invocationId'.",
		`{"type":7,"allowReconnect":1}`:                "Expected 'allowReconnect' to be of type Boolean.",
		`{"type":8}`:                                   "Missing required property 'sequenceId'.",
		`{"type":9,"sequenceId":-1}`:                   "Expected 'sequenceId' to be of type Number.",
		`{"type":9,"sequenceId":"1"}`:                  "Expected 'sequenceId' to be of type Number.",
		`{"type":9,"sequenceId":18446744073709551616}`: "Expected 'sequenceId' to be of type Number.",
		`{"type":6}{"type":6}`:                         "trailing data at byte 10",
		`{"type":6,}`:                                  `unexpected "}" at byte 10`,
		`{"type":06}`:                                  `unexpected "6" at byte 9`,
		"{\"type\":6,\"a\":\"\xff\"}":                  "a: invalid UTF-8 at byte 15",
		"{\"type\":6,\"a\":\"\n\"}":                    `a: unexpected "\n" at byte 15`,
		`{"type":6,"a":` + nested(64) + `}`:            "a" + strings.Repeat("[0]", 63) + ": nested deeper than 64 levels",
	} {
		parser := hubprotocol.NewParser(JSON, maxMessage)
		parser.Feed(append([]byte(text), hubprotocol.RecordSeparator))
		_, _, err := parser.Next()
		wantMessageError(t, err, want)
	}
}

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

func TestTolerance(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"type":1,"invocationId":null,"streamIds":null,"target":"x","arguments":[18446744073709551616,1e400,"\ud800",{"a":1,"a":2}],"headers":{"a":null}}␞`,
		`{"\u0074ype":6}␞`,
		// A later version's messages are ignored, whatever their members are.
		`{"error":{"code":1},"invocationId":5,"type":10,"arguments":{},"streamIds":"x","sequenceId":"y","target":[]}␞`,
		`{"type":99999999999999999999,"error":1}␞`, `{"type":-1,"target":1}␞`,
		`{"type":3,"invocationId":"1","error":null,"result":1}␞`,
		`{"type":3,"invocationId":"1","error":"x","result":null}␞`,
		`{"type":6,"a":` + nested(63) + `}␞`,
	} {
		if got := feed(t, JSON, records(text)); len(got) != 1 {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

// Without a text it would pass for the Completion of what has no result.
func TestErrorWithoutATextIsAnError(t *testing.T) {
	t.Parallel()
	for _, encoded := range []string{"07 95 03 80 a1 32 01 a0", "07 95 03 80 a1 32 01 c0"} {
		if m := feed(t, MessagePack, unhex(t, encoded)); len(m) != 1 || m[0].Error == "" || m[0].HasResult {
			t.Errorf("%s: got %+v", encoded, m)
		}
	}
}

func TestMalformedMessagePack(t *testing.T) {
	t.Parallel()
	for encoded, want := range map[string]string{
		"00":                               "the message is empty",
		"80 00 91 06":                      "the message is empty",
		"ff ff ff ff 08":                   "the length prefix is beyond 2 GiB",
		"80 80 80 80 80 01":                "the length prefix is beyond 2 GiB",
		"01 06":                            "expected a MessagePack array",
		"01 90":                            "Missing required property 'type'.",
		"02 91 c0":                         `type: msgp: attempted to decode type "nil" with method for "int"`,
		"03 91 06 06":                      "1 bytes follow the message's array",
		"04 93 05 80 c0":                   "Missing required property 'invocationId'.",
		"07 95 04 80 c0 a1 61 90":          "Missing required property 'invocationId'.",
		"07 95 01 80 c0 a1 61 80":          "Expected 'arguments' to be of type Array.",
		"07 95 01 80 c0 a1 ff 90":          "target: invalid UTF-8",
		"06 95 01 80 c0 a0 90":             "Missing required property 'target'.",
		"06 94 03 80 a1 32 04":             "Invalid invocation result kind 4.",
		"06 94 03 80 a1 32 03":             "Missing required property 'result'.",
		"03 92 08 ff":                      "sequenceId: msgp: attempted to cast int -1 to unsigned",
		"07 92 2a dd ff ff ff ff":          "surplus item: msgp: too few bytes left to read object",
		"0a 96 01 80 c0 a1 61 90 dd ff ff": "streamIds: msgp: too few bytes left to read object",
	} {
		parser := hubprotocol.NewParser(MessagePack, maxMessage)
		parser.Feed(unhex(t, encoded))
		_, _, err := parser.Next()
		wantMessageError(t, err, want)
	}
	deep := append([]byte{66, 0x92, 0x2a}, bytes.Repeat([]byte{0x91}, 64)...)
	wantRefused(t, MessagePack, deep)
}

func TestMessageAtTheLimitPasses(t *testing.T) {
	t.Parallel()
	for _, p := range []hubprotocol.Protocol{JSON, MessagePack} {
		whole := hubprotocol.AppendCompletionError(nil, p, "x", strings.Repeat("a", 200))
		for _, piece := range []int{len(whole), 1} {
			parser := hubprotocol.NewParser(p, len(whole))
			for range 2 { // the limit is for a message, not for the stream
				if m, err := feedSlowly(parser, whole, piece); err != nil || m.InvocationID != "x" {
					t.Errorf("%s at the limit: got %v, %v", p, m, err)
				}
			}
			_, err := feedSlowly(hubprotocol.NewParser(p, len(whole)-1), whole, piece)
			var large *hubprotocol.TooLargeError
			if !errors.As(err, &large) || large.Limit != len(whole)-1 {
				t.Errorf("%s beyond the limit: got %v", p, err)
			}
		}
	}
}

func feedSlowly(parser *hubprotocol.Parser, whole []byte, size int) (last hubprotocol.Message, err error) {
	for piece := range slicesOf(whole, size) {
		parser.Feed(piece)
		m, ok, err := parser.Next()
		if err != nil {
			return m, err
		}
		if ok {
			last = m
		}
	}
	return last, nil
}

// A length from the client is judged before what it announces has come, so nobody makes the server hold more than the limit.
func TestLengthPrefix(t *testing.T) {
	t.Parallel()
	for encoded, length := range map[string]int{
		"7f": 127, "80 01": 128, "ac 02": 300, "80 29": 5248, "80 80 01": 16384, "ff ff ff ff 07": 1<<31 - 1,
	} {
		prefix := unhex(t, encoded)
		enough := hubprotocol.NewParser(MessagePack, length+len(prefix))
		enough.Feed(prefix)
		if _, ok, err := enough.Next(); ok || err != nil {
			t.Errorf("%s: got %v, want the rest to be waited for", encoded, err)
		}
		short := hubprotocol.NewParser(MessagePack, length+len(prefix)-1)
		short.Feed(prefix)
		var large *hubprotocol.TooLargeError
		if _, _, err := short.Next(); !errors.As(err, &large) {
			t.Errorf("%s: got %v, want it too large", encoded, err)
		}
	}
}
