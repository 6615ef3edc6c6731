package transports

import (
	"bytes"
	"testing"

	"hubstream/transports/hubprotocol"
)

// A handshake may come byte by byte: each byte must not cost as much as all before it.
func TestAByteOfAHandshakeCostsLittle(t *testing.T) {
	begun := bytes.Repeat([]byte(" "), 30<<10)
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if comesBack(begun) {
				b.Fatal("it comes back")
			}
		}
	})
	if cost := r.AllocedBytesPerOp(); cost > 2<<10 {
		t.Errorf("%d bytes are allocated for each", cost)
	}
	for _, p := range []hubprotocol.Protocol{hubprotocol.JSON, hubprotocol.MessagePack} {
		if !comesBack(append(hubprotocol.AppendSequence(nil, p, 1<<40), begun...)) {
			t.Errorf("a Sequence in %v is not known with what follows it", p)
		}
	}
}
