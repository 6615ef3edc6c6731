package hubprotocol_test

import (
	"errors"
	"strings"
	"testing"

	"hubstream/transports/hubprotocol"
)

func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		request string
		want    hubprotocol.Protocol
		err     string
	}{
		{`{"protocol":"json","version":1}␞`, JSON, ""},
		{`{"protocol":"json","version":2}␞`, JSON, ""},
		{`{"version":0,"protocol":"json"}␞`, JSON, ""}, // a Python client
		{`{"protocol":"messagepack","version":1}␞`, MessagePack, ""},
		{"{ \"protocol\" : \"\\u006ason\" ,\n\"version\" : 1, \"more\":[{}] }␞", JSON, ""},
		{`{"protocol":"xml","version":1}␞`, 0, "The protocol 'xml' is not supported."},
		{`{"protocol":"","version":9}␞`, 0, "The protocol '' is not supported."},
		{`{"protocol":"` + strings.Repeat("x", 30<<10) + `","version":1}␞`, 0, "The protocol '" + strings.Repeat("x", 40) + "...' is not supported."},
		{`{"protocol":"json","version":3}␞`, 0, "The server does not support version 3 of the 'json' protocol."},
		{`{"protocol":"json","version":7}␞`, 0, "The server does not support version 7 of the 'json' protocol."},
		{`{"protocol":"messagepack","version":-1}␞`, 0, "The server does not support version -1 of the 'messagepack' protocol."},
		{`{"version":1}␞`, 0, "Missing required property 'protocol'."},
		{`{"protocol":"json"}␞`, 0, "Missing required property 'version'."},
		{`{"protocol":1,"version":1}␞`, 0, "Expected 'protocol' to be of type String."},
		{`{"protocol":"json","version":"1"}␞`, 0, "Expected 'version' to be of type Number."},
		{`{"protocol":"json","version":99999999999}␞`, 0, "Expected 'version' to be of type Number."},
		{`GET / HTTP/1.1␞`, 0, "expected a JSON object"},
		{`␞`, 0, "expected a JSON object"},
		{`{"protocol":"json","version":1}}␞`, 0, "trailing data at byte 31"},
	} {
		request, rest, err := hubprotocol.ParseHandshake(append(records(test.request), "after"...))
		var got hubprotocol.Protocol
		if err == nil {
			if string(rest) != "after" {
				t.Errorf("%s: got rest %q", test.request, rest)
			}
			got, err = request.Check(true)
		}
		if got != test.want {
			t.Errorf("%s: got %v, want %v", test.request, got, test.want)
		}
		if test.err == "" && err == nil {
			continue
		}
		wantMessageError(t, err, test.err)
	}
}

func TestHandshakeInPieces(t *testing.T) {
	t.Parallel()
	request := records(`{"protocol":"json","version":1}␞`)
	for n := range request {
		if _, _, err := hubprotocol.ParseHandshake(request[:n]); !errors.Is(err, hubprotocol.ErrIncomplete) {
			t.Errorf("%d bytes: got %v, want more to be asked for", n, err)
		}
	}
}

func TestHandshakeOnTextTransport(t *testing.T) {
	t.Parallel()
	_, err := hubprotocol.HandshakeRequest{Protocol: "messagepack", Version: 1}.Check(false)
	wantMessageError(t, err, "Cannot use the 'messagepack' protocol on the current transport. "+
		"The transport does not support 'Binary' transfer format.")
	if p, err := (hubprotocol.HandshakeRequest{Protocol: "json", Version: 1}).Check(false); p != JSON || err != nil {
		t.Errorf("JSON: got %v, %v", p, err)
	}
}

func TestHandshakeResponse(t *testing.T) {
	t.Parallel()
	if got, want := hubprotocol.HandshakeResponse(""), records("{}␞"); string(got) != string(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got := hubprotocol.HandshakeResponse("The protocol '\x1e\"' is not supported.")
	if want := records(`{"error":"The protocol '\u001e\"' is not supported."}␞`); string(got) != string(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
