package hubprotocol_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"hubstream/transports/hubprotocol"
)

func TestTranscode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"type":1,"target":"a","arguments":[42]}␞`:                                                 "09 96 01 80 c0 a1 61 91 2a 90",
		`{"type":1,"target":"Send","arguments":[42,"hi",null]}␞`:                                    "10 96 01 80 c0 a4 53 65 6e 64 93 2a a2 68 69 c0 90",
		`{"type":1,"invocationId":"0","target":"Add","arguments":[1,2]}␞`:                           "0d 96 01 80 a1 30 a3 41 64 64 92 01 02 90",
		`{"type":1,"invocationId":"1","target":"Up","arguments":[],"streamIds":["2"]}␞`:             "0c 96 01 80 a1 31 a2 55 70 90 91 a1 32",
		"{ \"arguments\" : [ ] ,\n\"headers\":{\"a\":\"b\"}, \"target\" : \"a\" , \"type\" : 1 } ␞": "08 96 01 80 c0 a1 61 90 90",
		`{"type":2,"invocationId":"2","item":7}␞`:                                                   "06 94 02 80 a1 32 07",
		`{"type":3,"invocationId":"2"}␞`:                                                            "06 94 03 80 a1 32 02",
		`{"type":3,"invocationId":"2","result":null}␞`:                                              "07 95 03 80 a1 32 03 c0",
		`{"type":3,"invocationId":"2","result":42}␞`:                                                "07 95 03 80 a1 32 03 2a",
		`{"type":3,"invocationId":"2","error":"Error"}␞`:                                            "0c 95 03 80 a1 32 01 a5 45 72 72 6f 72",
		`{"type":7}␞`:                       "04 93 07 c0 c2",
		`{"type":7,"allowReconnect":true}␞`: "04 93 07 c0 c3",
		`{"type":7,"error":"x"}␞`:           "05 93 07 a1 78 c2",
	} {
		got, err := hubprotocol.AppendMessagePack([]byte("before"), records(text))
		if want := append([]byte("before"), unhex(t, want)...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got % x, %v, want % x", text, got, err, want)
		}
	}
}

func TestTranscodedValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`0`: "00", `-0`: "00", `127`: "7f", `128`: "cc 80", `255`: "cc ff", `256`: "cd 01 00", `65535`: "cd ff ff",
		`65536`: "ce 00 01 00 00", `4294967296`: "cf 00 00 00 01 00 00 00 00", `18446744073709551615`: "cf ff ff ff ff ff ff ff ff",
		`-1`: "ff", `-32`: "e0", `-33`: "d0 df", `-128`: "d0 80", `-129`: "d1 ff 7f", `-32769`: "d2 ff ff 7f ff",
		`-9223372036854775808`: "d3 80 00 00 00 00 00 00 00",
		`1.5`:                  "cb 3f f8 00 00 00 00 00 00", `1.0`: "cb 3f f0 00 00 00 00 00 00", `1e0`: "cb 3f f0 00 00 00 00 00 00",
		`true`: "c3", `false`: "c2", `null`: "c0",
		`""`: "a0", `"\u00e9\n\"\\\/\b\f\r\t"`: "aa c3 a9 0a 22 5c 2f 08 0c 0d 09", `"\ud83d\ude00"`: "a4 f0 9f 98 80", `"\uFFFD"`: "a3 ef bf bd",
		`{}`: "80", `{"b":1,"a":[{}]}`: "82 a1 62 01 a1 61 91 80", `{"\u0061":"\\"}`: "81 a1 61 a1 5c",
	} {
		message := records(`{"type":2,"invocationId":"2","item":` + text + `}␞`)
		got, err := hubprotocol.AppendMessagePack(nil, message)
		value := unhex(t, want)
		if want := append([]byte{byte(5 + len(value)), 0x94, 2, 0x80, 0xa1, '2'}, value...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got % x, %v, want % x", text, got, err, want)
		}
	}
}

// Lengths are written after what they count, in the room that is made for them then.
func TestTranscodedLengths(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 15, 16, 31, 32, 100, 115, 120, 127, 128, 255, 256, 16360, 16380, 65535, 65536} {
		long := strings.Repeat("a", n)
		list := "[" + strings.TrimSuffix(strings.Repeat("7,", n), ",") + "]"
		members := make([]string, n)
		for i := range members {
			members[i] = fmt.Sprintf(`"k%d":%d`, i, i)
		}
		for _, value := range []string{
			`"` + long + `"`, `"` + long + `\n"`, `"\u00e9` + long + `"`, list, "[" + list + "," + list + "]",
			"{" + strings.Join(members, ",") + "}",
		} {
			message, err := hubprotocol.AppendInvocation(nil, "x", []byte("["+value+"]"))
			if err != nil {
				t.Fatal(err)
			}
			packed, err := hubprotocol.AppendMessagePack(nil, message)
			if err != nil {
				t.Fatal(err)
			}
			wantSameArguments(t, packed, []byte("["+value+"]"))
		}
	}
}

func TestTranscodeRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:             "the message has no record separator",
		`{"type":1}`:   "the message has no record separator",
		`{"type":1}␞␞`: "trailing data at byte 10",
		`{"type":1}␞`:  "Missing required property 'target'.",
		`{"type":6}␞`:  "messages of type 6 do not go to clients",
		`{"type":4,"invocationId":"1","target":"x","arguments":[]}␞`: "messages of type 4 do not go to clients",
		`{"type":3,"invocationId":"1","result":{"a":["\udc00"]}}␞`:   `result.a[0]: lone surrogate \udc00`,
		`{"type":3,"invocationId":"1","result":1e999}␞`:              "result: number 1e999 is beyond float64",
		`{"type":2,"item":1,"invocationId":"1","item":2}␞`:           `duplicate key "item"`,
	} {
		got, err := hubprotocol.AppendMessagePack([]byte("before"), records(text))
		wantMessageError(t, err, want)
		if string(got) != "before" {
			t.Errorf("%s: got %q, want it as it was", text, got)
		}
	}
}
