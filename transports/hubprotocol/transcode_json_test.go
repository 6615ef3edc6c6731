package hubprotocol_test

import (
	"math"
	"testing"

	"github.com/tinylib/msgp/msgp"

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

// What a client's value says in MessagePack it says in JSON, and, made into MessagePack again, to another client: a float is not taken
// for an integer, which may be none that there is.
func TestValuesOfClientsKeepTheirKindInJSON(t *testing.T) {
	t.Parallel()
	float, negativeZero := msgp.AppendFloat64, math.Copysign(0, -1)
	for _, test := range []struct {
		value []byte
		want  string // empty: it is refused
	}{
		{float(nil, 1), `1.0`}, {float(nil, negativeZero), `-0.0`}, {float(nil, 1e21), `1e+21`}, {float(nil, 5e-324), `5e-324`},
		{float(nil, math.MaxFloat64), `1.7976931348623157e+308`}, {msgp.AppendFloat32(nil, 0.1), `0.1`},
		{msgp.AppendUint64(nil, math.MaxUint64), `18446744073709551615`}, {msgp.AppendInt64(nil, math.MinInt64), `-9223372036854775808`},
		{float(nil, math.NaN()), ``}, {float(nil, math.Inf(-1)), ``},
		{msgp.AppendBytes(nil, []byte{1, 0xFF}), `"Af8="`}, {msgp.AppendString(nil, "<\xff>"), "\"<\ufffd>\""},
		{[]byte("\xd6\xff\x5a\x00\x00\x00"), `"2017-11-06T06:24:00Z"`}, {[]byte("\xd4\x63\x01"), `{"type":99,"data":"AQ=="}`},
		{[]byte("\x82\x01\x02\xa1a\xc0"), `{"1":2,"a":null}`}, {[]byte("\x81\xc4\x01a\x02"), ``}, {[]byte("\x92\x01"), ``}, {[]byte("\xd4\x63"), ``},
	} {
		got, err := hubprotocol.ToJSON(hubprotocol.MessagePack, test.value)
		if string(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%x: got %s (%v), want %s", test.value, got, err, test.want)
		}
		if err == nil && argumentsOf(t, "["+string(got)+"]") == nil {
			t.Errorf("%x: %s cannot be sent", test.value, got)
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
