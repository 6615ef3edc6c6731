package hubprotocol_test

import (
	"strings"
	"testing"

	"hubstream/transports/hubprotocol"
)

// An upstream's Completion may come with its length before it or without, and of some lengths its first bytes look like one.
func TestCompletionOfAnyLengthWithAndWithoutFraming(t *testing.T) {
	t.Parallel()
	for n := range 600 {
		text := strings.Repeat("x", 1+n)
		framed := hubprotocol.AppendCompletionError(nil, MessagePack, "1", text)
		for what, b := range map[string][]byte{"framed": framed, "without framing": hubprotocol.Unframe(MessagePack, framed)} {
			m, err := hubprotocol.ParseCompletion(MessagePack, b)
			if err != nil || m.InvocationID != "1" || m.Error != text {
				t.Errorf("%d bytes, %s: got %+v, %v", len(b), what, m, err)
			}
		}
	}
}
