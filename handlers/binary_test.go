package handlers_test

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"hubstream/handlers"
	"hubstream/transports/hubprotocol"
)

// packed is a map of MessagePack; values that are bytes are binary.
func packed(t *testing.T, pairs ...any) string {
	t.Helper()
	b := msgp.AppendMapHeader(nil, uint32(len(pairs)/2))
	for _, v := range pairs {
		var err error
		if b, err = msgp.AppendIntf(b, v); err != nil {
			t.Fatal(err)
		}
	}
	return string(b)
}

func inMessagePack(t *testing.T, message string) []byte {
	t.Helper()
	b, err := hubprotocol.AppendMessagePack(nil, []byte(message))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBinaryBodiesAreSentAsJSON(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	const message = `{"type":1,"target":"t","arguments":[1,"ü",{"a":null}]}` + "\x1e"
	vector, err := hex.DecodeString("81a46a736f6ec428" + hex.EncodeToString([]byte(`{"type":1,"target":"t","arguments":[1]}`)) + "1e")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ mediaType, body, want string }{
		{"application/octet-stream", string(vector), `{"type":1,"target":"t","arguments":[1]}` + "\x1e"},
		{"application/octet-stream", packed(t, "JSON", []byte(message), "messagepack", []byte("not looked at")), message},
		{"application/octet-stream", packed(t, "messagepack", inMessagePack(t, message)), message},
		{"application/x-msgpack", packed(t, "json", []byte(message)), message},
		{"application/x-msgpack", packed(t, "Target", "t", "Arguments", []any{1, "ü", map[string]any{"a": nil}}), message},
		{"application/x-msgpack", packed(t, "target", "t"), `{"type":1,"target":"t","arguments":[]}` + "\x1e"},
		{"application/x-msgpack", packed(t, "target", "t", "arguments", []any{1.0, 1.5, float32(0.5), -3, uint64(math.MaxUint64), true, []byte{0xFF, 0}, 1e300}),
			`{"type":1,"target":"t","arguments":[1.0,1.5,0.5,-3,18446744073709551615,true,"/wA=",1e+300]}` + "\x1e"},
	} {
		if w := f.do("POST", "/api/hubs/chat/:send"+apiVersion, test.body, "Content-Type", test.mediaType); w.Code != 202 {
			t.Errorf("%q: got %d %s", test.body, w.Code, w.Body)
		} else if got := string(f.last().Body); got != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.body, got, test.want)
		}
	}
}

func TestBadBinaryBodiesAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	good := []byte(`{"type":1,"target":"t","arguments":[]}` + "\x1e")
	extension := msgp.AppendMapHeader(nil, 2)
	extension = msgp.AppendString(msgp.AppendString(extension, "target"), "t")
	extension = append(msgp.AppendString(extension, "arguments"), 0x91, 0xd4, 5, 1)
	deep := msgp.AppendMapHeader(nil, 2)
	deep = msgp.AppendString(msgp.AppendString(deep, "target"), "t")
	deep = append(msgp.AppendString(deep, "arguments"), strings.Repeat("\x91", 100)+"\xc0"...)
	for what, test := range map[string]struct{ body, field string }{
		"nothing":                  {"", ""},
		"an array":                 {"\x90", ""},
		"JSON":                     {`{"target":"t"}`, ""},
		"half a map":               {packed(t, "json", good)[:20], ""},
		"more than a map":          {packed(t, "json", good) + "x", ""},
		"a key that is a number":   {"\x81\x01\x01", ""},
		"an empty map":             {"\x80", "target"},
		"json that is text":        {packed(t, "json", string(good)), "json"},
		"json without separator":   {packed(t, "json", good[:len(good)-1]), "json"},
		"two messages":             {packed(t, "json", append(good[:len(good):len(good)], good...)), "json"},
		"a ping":                   {packed(t, "json", []byte(`{"type":6}`+"\x1e")), "json"},
		"an invocation with an ID": {packed(t, "json", []byte(`{"type":1,"invocationId":"1","target":"t","arguments":[]}`+"\x1e")), "json"},
		"broken MessagePack":       {packed(t, "messagepack", []byte{3, 0x93, 1}), "messagepack"},
		"a target that is bytes":   {packed(t, "target", []byte("t")), "target"},
		"an empty target":          {packed(t, "target", ""), "target"},
		"a long target":            {packed(t, "target", strings.Repeat("t", 257)), "target"},
		"arguments that are a map": {packed(t, "target", "t", "arguments", map[string]any{}), "arguments"},
		"a key that is no string":  {"\x82\xa6target\xa1t\xa9arguments\x91\x81\x01\x01", "arguments"},
		"NaN":                      {packed(t, "target", "t", "arguments", []any{math.NaN()}), "arguments"},
		"an extension":             {string(extension), "arguments"},
		"a hundred arrays":         {string(deep), "arguments"},
	} {
		w := f.do("POST", "/api/hubs/chat/groups/g/:send"+apiVersion, test.body, "Content-Type", "application/x-msgpack")
		if got := refusedAs(t, what, w, 400); got.Target != test.field {
			t.Errorf("%s: names the field %q, want %q (%s)", what, got.Target, test.field, got.Message)
		}
	}
	if n := f.entries(); n != 0 {
		t.Errorf("the log has %d entries", n)
	}
}
