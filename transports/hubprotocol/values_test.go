package hubprotocol_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"hubstream/transports/hubprotocol"
)

// wantSameArguments decodes a framed MessagePack Invocation with msgp and its arguments' source with encoding/json.
func wantSameArguments(tb testing.TB, packed, arguments []byte) {
	tb.Helper()
	message := feed(tb, MessagePack, packed)
	if len(message) != 1 || message[0].Type != hubprotocol.Invocation {
		tb.Fatalf("got %v, want one invocation", message)
	}
	got, rest, err := msgp.ReadIntfBytes(message[0].Arguments)
	if err != nil || len(rest) > 0 {
		tb.Fatalf("decode %.200q: %v, %d bytes remain", message[0].Arguments, err, len(rest))
	}
	if got, want := plain(got), plain(fromJSON(tb, arguments)); !reflect.DeepEqual(got, want) {
		tb.Errorf("%.200q: got %.200v, want %.200v", arguments, got, want)
	}
}

func fromJSON(tb testing.TB, text []byte) (value any) {
	tb.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		tb.Fatalf("%.200q: %v", text, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		tb.Fatalf("%.200q: more follows: %v", text, err)
	}
	return value
}

// plain makes numbers comparable: integers as their digits, others as float64.
func plain(value any) any {
	switch v := value.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case map[string]any:
		members := make(map[string]any, len(v))
		for key := range v {
			members[key] = plain(v[key])
		}
		return members
	case json.Number:
		if v == "-0" {
			return "0"
		}
		if !strings.ContainsAny(string(v), ".eE") {
			return string(v)
		}
		f, _ := strconv.ParseFloat(string(v), 64)
		return f
	case int64, uint64, int, uint:
		return fmt.Sprint(v)
	}
	return value
}
