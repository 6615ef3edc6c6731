package hubprotocol_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"hubstream/transports/hubprotocol"
)

func FuzzHandshake(f *testing.F) {
	for _, seed := range []string{
		`{"protocol":"json","version":1}␞`, `{"protocol":"messagepack","version":2}␞{"type":6}␞`,
		`{"version":0,"protocol":"j\u0073on"}␞`, `{"protocol":"x","version":-1}`, `{"protocol":null}␞`,
	} {
		f.Add(records(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		request, rest, err := hubprotocol.ParseHandshake(stream)
		end := bytes.IndexByte(stream, hubprotocol.RecordSeparator)
		if incomplete := errors.Is(err, hubprotocol.ErrIncomplete); incomplete != (end < 0) {
			t.Fatalf("got %v with the separator at %d", err, end)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(rest, stream[end+1:]) {
			t.Errorf("got rest %q", rest)
		}
		var want struct {
			Protocol string
			Version  int
		}
		if err := json.Unmarshal(stream[:end], &want); err != nil {
			t.Errorf("accepted what is not JSON: %v", err)
		}
		if _, err := request.Check(true); err != nil {
			response := hubprotocol.HandshakeResponse(err.Error())
			if !json.Valid(response[:len(response)-1]) || bytes.IndexByte(response, hubprotocol.RecordSeparator) != len(response)-1 {
				t.Errorf("got response %q", response)
			}
		}
	})
}

func FuzzParserJSON(f *testing.F) {
	for _, test := range inbound {
		f.Add(records(test.text), uint(3))
	}
	f.Add(streams(f)[JSON], uint(100))
	f.Fuzz(func(t *testing.T, stream []byte, at uint) {
		for _, m := range fuzzParser(t, JSON, stream, at) {
			if text := m.Raw[:len(m.Raw)-1]; !json.Valid(text) || !utf8.Valid(text) {
				t.Errorf("accepted %q", text)
			}
			for _, part := range [][]byte{m.Arguments, m.Item, m.Result} {
				if part != nil && !json.Valid(part) {
					t.Errorf("returned %q", part)
				}
			}
		}
	})
}

func FuzzParserMessagePack(f *testing.F) {
	for _, test := range inbound {
		f.Add(unhex(f, test.hex), uint(3))
	}
	f.Add(streams(f)[MessagePack], uint(100))
	f.Fuzz(func(t *testing.T, stream []byte, at uint) {
		for _, m := range fuzzParser(t, MessagePack, stream, at) {
			for n := range m.Raw {
				parser := hubprotocol.NewParser(MessagePack, maxMessage)
				parser.Feed(m.Raw[:n])
				if _, ok, err := parser.Next(); ok || err != nil {
					t.Errorf("%d bytes of % x: got %v, %v", n, m.Raw, ok, err)
				}
			}
		}
	})
}

// fuzzParser feeds a stream whole and in two pieces, which must make no difference.
func fuzzParser(t *testing.T, p hubprotocol.Protocol, stream []byte, at uint) []hubprotocol.Message {
	at %= uint(len(stream) + 1)
	whole, errWhole := parse(p, stream)
	pieces, errPieces := parse(p, stream[:at], stream[at:])
	if !reflect.DeepEqual(whole, pieces) || !reflect.DeepEqual(errWhole, errPieces) {
		t.Errorf("got %+v, %v at once and %+v, %v in pieces", whole, errWhole, pieces, errPieces)
	}
	var joined []byte
	for _, m := range whole {
		joined = append(joined, m.Raw...)
	}
	if !bytes.HasPrefix(stream, joined) {
		t.Errorf("the messages %q are not what was fed", joined)
	}
	return whole
}

func parse(p hubprotocol.Protocol, pieces ...[]byte) (messages []hubprotocol.Message, err error) {
	parser := hubprotocol.NewParser(p, 1<<10)
	for _, piece := range pieces {
		parser.Feed(piece)
		for {
			m, ok, err := parser.Next()
			if err != nil {
				return messages, err
			}
			if !ok {
				break
			}
			messages = append(messages, clone(m))
		}
	}
	return messages, nil
}

func FuzzAppendInvocation(f *testing.F) {
	for _, seed := range []string{
		`[42,"hi"]`, `[]`, ` [ { "a" : [ 1 , 2.5e-3 , null , true , false ] } , "\ud83d\ude00\u001e" ] `,
		`[18446744073709551615,-9223372036854775808,18446744073709551616,1e400,-0,1.0]`,
		`["\ud800"]`, `[{"a":1,"\u0061":2}]`, `[{"__proto__":1}]`, nested(63), nested(64), "[\"\xff\"]",
		"[" + object(40, "") + "]", `["` + strings.Repeat("long ", 20) + `é\n"]`,
	} {
		f.Add("Send", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, target string, arguments []byte) {
		message, err := hubprotocol.AppendInvocation(nil, target, arguments)
		if err != nil {
			checkRefusal(t, target, arguments, err)
			return
		}
		text := message[:len(message)-1]
		if bytes.ContainsAny(text, "\n\r\x1e") || !utf8.Valid(text) {
			t.Fatalf("got %q", message)
		}
		var got struct {
			Type      int
			Target    string
			Arguments json.RawMessage
		}
		if err := json.Unmarshal(text, &got); err != nil || got.Type != 1 || got.Target != target {
			t.Fatalf("got %q, %v", message, err)
		}
		if got, want := fromJSON(t, got.Arguments), fromJSON(t, arguments); !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: got %v, want %v", arguments, got, want)
		}
		if received := feed(t, JSON, message); len(received) != 1 || received[0].Target != target {
			t.Fatalf("got %+v", received)
		}
		packed, err := hubprotocol.AppendMessagePack(nil, message)
		if err != nil {
			t.Fatalf("%q cannot be transcoded: %v", message, err)
		}
		wantSameArguments(t, packed, arguments)
	})
}

// checkRefusal makes sure that what is refused as bad JSON is bad JSON.
func checkRefusal(t *testing.T, target string, arguments []byte, err error) {
	for _, reason := range []string{
		"beyond 64 bits", "beyond float64", "lone surrogate", "duplicate key", "__proto__", "deeper than", "invalid UTF-8", "target: empty",
	} {
		if strings.Contains(err.Error(), reason) {
			return
		}
	}
	if trimmed := bytes.TrimLeft(arguments, " \r\n\t"); json.Valid(arguments) && trimmed[0] == '[' {
		t.Errorf("%q, %q refused: %v", target, arguments, err)
	}
}

func FuzzAppendMessagePack(f *testing.F) {
	for _, test := range inbound {
		f.Add(records(test.text))
	}
	f.Add(records(`{"type":2,"invocationId":"1","item":{"a":[1.5,-7,"\ud83d\ude00",{}]}}␞`))
	f.Fuzz(func(t *testing.T, message []byte) {
		packed, err := hubprotocol.AppendMessagePack(nil, message)
		if err != nil {
			return
		}
		if !json.Valid(message[:len(message)-1]) {
			t.Fatalf("accepted %q", message)
		}
		got, want := feed(t, MessagePack, packed), feed(t, JSON, message)
		if len(got) != 1 || len(want) != 1 {
			t.Fatalf("%q: got %+v, want %+v", message, got, want)
		}
		if len(want[0].StreamIDs) == 0 {
			want[0].StreamIDs = nil
		}
		sameValue(t, got[0].Arguments, want[0].Arguments)
		sameValue(t, got[0].Item, want[0].Item)
		sameValue(t, got[0].Result, want[0].Result)
		for _, m := range []*hubprotocol.Message{&got[0], &want[0]} {
			m.Arguments, m.Item, m.Result, m.Raw = nil, nil, nil, nil
		}
		wantMessages(t, got, want...)
	})
}

func sameValue(t *testing.T, packed, text []byte) {
	if len(packed) == 0 && len(text) == 0 {
		return
	}
	message, err := hubprotocol.AppendMessagePack(nil, []byte(`{"type":1,"target":"x","arguments":[`+string(text)+"]}\x1e"))
	if err != nil {
		t.Fatal(err)
	}
	wantSameArguments(t, message, []byte("["+string(text)+"]"))
	if !bytes.Contains(message, packed) {
		t.Errorf("%q: got % x", text, packed)
	}
}
