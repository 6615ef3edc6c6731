package streams_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"hubstream/streams"
)

// entries is one entry of each kind, and what is unusual about lists and strings.
func entries() map[string]streams.Entry {
	return map[string]streams.Entry{
		"broadcast": {
			Kind: streams.KindMessage, Flags: streams.FlagAll,
			Body: []byte(`{"type":1,"target":"message","arguments":["hello"]}` + "\x1e"),
		},
		"targeted message": {
			Kind: streams.KindMessage, Groups: []string{"a", "b"}, Users: []string{"ann"}, Connections: []string{"c1", "c2", "c3"},
			Excluded: []string{"c9"}, Body: []byte(`{"type":1,"target":"m","arguments":[]}` + "\x1e"),
		},
		"control": {Kind: streams.KindControl, Verb: streams.VerbJoin, Connections: []string{"c1"}, Named: []string{"g", "h"}},
		"close":   {Kind: streams.KindClose, Flags: streams.FlagReconnect | streams.FlagEnded, Users: []string{"ann"}, Body: []byte("bye")},
		"handshake": {
			Kind: streams.KindReply, Flags: streams.FlagHandshake | streams.FlagFinal, Protocol: 1, Version: 255,
			Connections: []string{"c1"}, Body: []byte("{}\x1e"),
		},
		"result":        {Kind: streams.KindResult, Owner: "n1:0123", Body: []byte("{}")},
		"moved":         {Kind: streams.KindMoved, Connections: []string{"c1"}, Owner: "n2:4567"},
		"blank":         {Kind: streams.KindBlank, Connections: []string{"c1"}},
		"generation":    {Kind: streams.KindGen, Flags: streams.FlagLost, Named: []string{"1-2"}, Owner: "89ab"},
		"empty strings": {Kind: streams.KindMessage, Groups: []string{"", "a", ""}, Users: []string{""}},
		"any bytes":     {Kind: streams.KindMessage, Groups: []string{"\x00\xff\x80", "\n"}, Body: []byte{0, 0x1e, 0xff}},
		"long strings": {
			Kind: streams.KindMessage, Groups: []string{strings.Repeat("g", 127), strings.Repeat("h", 128)},
			Users: []string{strings.Repeat("u", 1<<14)}, Body: bytes.Repeat([]byte("b"), 1<<16),
		},
		"many targets":     {Kind: streams.KindMessage, Connections: strings.Split(strings.Repeat("connection,", streams.MaxTargets), ",")},
		"unknown kind":     {Kind: 200, Flags: 0xff, Verb: 9, Body: []byte("of a later version")},
		"nothing but kind": {Kind: streams.KindBlank},
	}
}

// sameEntry compares entries; an empty list or body is as good as none.
func sameEntry(a, b streams.Entry) bool {
	for _, e := range []*streams.Entry{&a, &b} {
		if len(e.Body) == 0 {
			e.Body = nil
		}
	}
	return reflect.DeepEqual(a, b)
}

func TestEntriesAreReadAsWritten(t *testing.T) {
	t.Parallel()
	for name, want := range entries() {
		data := string(streams.AppendEntry(nil, &want))
		got, err := streams.DecodeEntry(data)
		if err != nil || !sameEntry(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
		after := streams.AppendEntry([]byte("before"), &want)
		if string(after) != "before"+data {
			t.Errorf("%s: appended to other bytes, the entry is another", name)
		}
	}
}

func TestTruncatedEntriesAreRefused(t *testing.T) {
	t.Parallel()
	for name, e := range entries() {
		if len(e.Connections) > 100 || len(e.Body) > 1000 {
			continue
		}
		body := e.Body
		e.Body = nil
		data := string(streams.AppendEntry(nil, &e))
		for n := range len(data) {
			if got, err := streams.DecodeEntry(data[:n]); !errors.Is(err, streams.ErrEntry) {
				t.Errorf("%s, %d of %d bytes: got %+v, %v, want ErrEntry", name, n, len(data), got, err)
			}
		}
		if got, err := streams.DecodeEntry(data + string(body)); err != nil || !bytes.Equal(got.Body, body) {
			t.Errorf("%s: got body %q, %v, want %q", name, got.Body, err, body)
		}
	}
}

func TestMalformedEntriesAreRefused(t *testing.T) {
	t.Parallel()
	head := "\x01\x01\x00\x00\x00\x00"
	for name, data := range map[string]string{
		"header longer than the entry":     head + "\x07" + "\x00\x00\x00\x00\x00\x00",
		"header longer than its fields":    head + "\x07" + "\x00\x00\x00\x00\x00\x00" + "x",
		"header shorter than its fields":   head + "\x05" + "\x00\x00\x00\x00\x00\x00",
		"list longer than the header":      head + "\x06" + "\x7f\x00\x00\x00\x00\x00",
		"string longer than the header":    head + "\x07" + "\x01\x7f\x00\x00\x00\x00\x00",
		"a list of as many as fit a uint":  head + "\x0f" + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + "\x00\x00\x00\x00\x00",
		"a string of as many as fit":       head + "\x10" + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + "\x00\x00\x00\x00\x00",
		"a number without an end":          head + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"a header of as many as fit":       head + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + "\x00\x00\x00\x00\x00\x00",
		"a number that the header cuts":    head + "\x06" + "\x00\x00\x00\x00\x00\x80" + "\x00",
		"a string that runs into the body": head + "\x06" + "\x00\x00\x00\x00\x00\x05" + "hello",
	} {
		if got, err := streams.DecodeEntry(data); !errors.Is(err, streams.ErrEntry) {
			t.Errorf("%s: got %+v, %v, want ErrEntry", name, got, err)
		}
	}
}

func TestALaterFormatIsToldApart(t *testing.T) {
	t.Parallel()
	e := entries()["broadcast"]
	data := streams.AppendEntry(nil, &e)
	if data[0] != streams.EntryFormat {
		t.Fatalf("the first byte is %d, want the format %d", data[0], streams.EntryFormat)
	}
	for _, format := range []byte{0, streams.EntryFormat + 1, 255} {
		data[0] = format
		_, err := streams.DecodeEntry(string(data))
		if !errors.Is(err, streams.ErrEntryFormat) || errors.Is(err, streams.ErrEntry) {
			t.Errorf("format %d: got %v, want ErrEntryFormat", format, err)
		}
	}
}

// Every node decodes every broadcast: it must cost no garbage.
func TestABroadcastDecodesWithoutAllocating(t *testing.T) {
	e := entries()["broadcast"]
	data := string(streams.AppendEntry(nil, &e))
	decode := func() {
		got, err := streams.DecodeEntry(data)
		if err != nil || len(got.Body) != len(e.Body) {
			t.Fatal(err)
		}
	}
	if got := testing.AllocsPerRun(1000, decode); got != 0 {
		t.Errorf("decoding a broadcast allocates %v times, want 0", got)
	}
	buffer := make([]byte, 0, 1024)
	if got := testing.AllocsPerRun(1000, func() { streams.AppendEntry(buffer, &e) }); got != 0 {
		t.Errorf("encoding into a buffer that has room allocates %v times, want 0", got)
	}
	// Memory of the entry's size, once; with the race detector, slices.Grow makes it twice. To grow by and by would be five times.
	if got := testing.AllocsPerRun(1000, func() { streams.AppendEntry(nil, &e) }); got > 2 {
		t.Errorf("encoding into new memory allocates %v times", got)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	for _, e := range entries() {
		if data := streams.AppendEntry(nil, &e); len(data) < 200 { // long seeds are slow to vary
			f.Add(string(data))
		}
	}
	f.Add("")
	f.Add("\x02\x01\x00\x00\x00\x00\x00")
	f.Add("\x01\x01\x00\x00\x00\x00\x0f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, data string) {
		e, err := streams.DecodeEntry(data)
		if err != nil {
			if !errors.Is(err, streams.ErrEntry) && !errors.Is(err, streams.ErrEntryFormat) {
				t.Errorf("got error %v, want ErrEntry or ErrEntryFormat", err)
			}
			return
		}
		written := string(streams.AppendEntry(nil, &e))
		again, err := streams.DecodeEntry(written)
		if err != nil || !sameEntry(again, e) {
			t.Errorf("written and read again: got %+v, %v, want %+v", again, err, e)
		}
		header := len(written) - len(e.Body)
		for _, n := range []int{0, 1, 6, 7, header / 2, header - 1} {
			if n < header {
				if _, err := streams.DecodeEntry(written[:n]); err == nil {
					t.Errorf("%d bytes of a header of %d were read as an entry", n, header)
				}
			}
		}
	})
}

func BenchmarkAppendEntry(b *testing.B) {
	for _, name := range []string{"broadcast", "targeted message"} {
		b.Run(name, func(b *testing.B) {
			e := entries()[name]
			buffer := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				streams.AppendEntry(buffer, &e)
			}
		})
	}
}

func BenchmarkDecodeEntry(b *testing.B) {
	for _, name := range []string{"broadcast", "targeted message"} {
		b.Run(name, func(b *testing.B) {
			e := entries()[name]
			data := string(streams.AppendEntry(nil, &e))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := streams.DecodeEntry(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
