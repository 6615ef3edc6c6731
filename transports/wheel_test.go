package transports

import (
	"testing"
	"time"
)

// The wheel looks at every socket and stream several times a second, nearly always in vain.
func TestWheelAllocatesNothingForTheQuiet(t *testing.T) {
	w := wheel{began: time.Now(), keepAlive: time.Hour.Milliseconds(), sockets: map[*webSocket]struct{}{}, streams: map[*stream]struct{}{}}
	for range 100 {
		c := &webSocket{}
		c.ready.Store(true)
		w.add(c)
		w.follow(&stream{source: quiet{}})
	}
	if n := testing.AllocsPerRun(100, func() {
		if sockets, streams := w.due(); len(sockets)+len(streams) > 0 {
			t.Fatal("somebody has something to write")
		}
	}); n != 0 {
		t.Errorf("%v allocations a tick", n)
	}
}

// quiet is a source that says nothing.
type quiet struct{ source }

func (quiet) tick(int64) {}
