package hubprotocol_test

import (
	"testing"

	"hubstream/transports/hubprotocol"
)

// argumentsOf are the arguments of an invocation, as a MessagePack client would be sent them.
func argumentsOf(t testing.TB, arguments string) []byte {
	t.Helper()
	message, err := hubprotocol.AppendInvocation(nil, "t", []byte(arguments))
	if err != nil {
		return nil
	}
	frame, err := hubprotocol.AppendMessagePack(nil, message)
	if err != nil {
		t.Fatal(err)
	}
	parser := hubprotocol.NewParser(hubprotocol.MessagePack, len(frame))
	parser.Feed(frame)
	m, ok, err := parser.Next()
	if !ok || err != nil {
		t.Fatalf("%x: %v %v", frame, ok, err)
	}
	return m.Arguments
}

func TestMessagePackComesBackAsTheJSONThatItWas(t *testing.T) {
	t.Parallel()
	for _, arguments := range []string{
		`[]`, `[null,true,false]`, `[0,-1,127,128,65536,-9223372036854775808,18446744073709551615]`, `[1.5,-0.25,1e+300]`,
		`["","ü","\"\\","\u0001"]`, `[[[]],{"a":{"b":[1]},"c":null}]`,
	} {
		packed := argumentsOf(t, arguments)
		got, err := hubprotocol.AppendJSON([]byte("x"), packed)
		if err != nil || string(got) != "x"+arguments {
			t.Errorf("got %s (%v), want %s", got, err, arguments)
		}
		for n := range len(packed) { // nothing shorter is taken for whole
			if got, err := hubprotocol.AppendJSON([]byte("x"), packed[:n]); err == nil || string(got) != "x" {
				t.Errorf("%s cut off after %d bytes became %s", arguments, n, got)
			}
		}
	}
}

// FuzzAppendJSON: whatever comes, what is accepted is JSON that comes back the same from MessagePack.
func FuzzAppendJSON(f *testing.F) {
	for _, arguments := range []string{`[1,"a",{"b":[null,1.5]}]`, `[]`} {
		f.Add(argumentsOf(f, arguments))
	}
	f.Add([]byte("\xc4\x02\xff\x00"))
	f.Add([]byte("\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, value []byte) {
		text, err := hubprotocol.AppendJSON(nil, value)
		if err != nil {
			return
		}
		packed := argumentsOf(t, "["+string(text)+"]")
		if packed == nil {
			return // a key twice, or too deep
		}
		again, err := hubprotocol.AppendJSON(nil, packed)
		if err != nil || string(again) != "["+string(text)+"]" {
			t.Errorf("%x became %s, and that %s (%v)", value, text, again, err)
		}
	})
}
