package handlers_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"hubstream/handlers"
)

// checkAgainstStandardLibrary holds the scanner to what encoding/json makes of the same bytes.
func checkAgainstStandardLibrary(t *testing.T, src []byte) {
	var builder handlers.SendBuilder
	parsed, err := handlers.ParseSend(src)
	if err != nil {
		if _, err := builder.Build(src); err == nil {
			t.Error("the same body is refused and accepted")
		}
		return
	}
	entry, err := builder.Build(src)
	if err != nil {
		return // the arguments are not what clients can be sent
	}
	var want map[string]json.RawMessage
	if err := json.Unmarshal(src, &want); err != nil {
		t.Fatalf("accepted: %q, which is not JSON: %v", src, err)
	}
	var target string
	if err := json.Unmarshal(want["target"], &target); err != nil || target != parsed.Target || target == "" {
		t.Errorf("target is %q, want %q (%v)", parsed.Target, target, err)
	}
	for _, name := range []string{"groups", "users", "connections", "excluded"} {
		var list []string
		if raw, ok := want[name]; ok {
			if err := json.Unmarshal(raw, &list); err != nil {
				t.Errorf("%s: accepted: %s", name, raw)
			}
		}
		if !reflect.DeepEqual(list, parsed.Lists[name]) {
			t.Errorf("%s: got %q, want %q", name, parsed.Lists[name], list)
		}
	}
	arguments := want["arguments"]
	if arguments == nil {
		arguments = []byte("[]")
	}
	var message struct{ Arguments json.RawMessage }
	var compact bytes.Buffer
	if err := json.Unmarshal(bytes.TrimSuffix(entry.Body, []byte{0x1e}), &message); err != nil {
		t.Fatalf("%q is no message: %v", entry.Body, err)
	}
	if err := json.Compact(&compact, arguments); err != nil || !bytes.Equal(compact.Bytes(), message.Arguments) {
		t.Errorf("arguments are %s, want %s (%v)", message.Arguments, compact.Bytes(), err)
	}
}
