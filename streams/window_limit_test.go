package streams

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The windows of a node's hubs share its memory: one that grows gives up its own oldest entries, but never its last megabyte, and what a hub had
// that is not used any more is given back.
func TestWindowsKeepWithinTheNodesBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const nodeBytes = 4 << 20
		ctx, n := memoryNode(t, Config{Name: "n", NodeWindowBytes: nodeBytes})
		names := []string{"a", "b", "c"}
		grow := func(name string) {
			for range 100 {
				if _, err := n.Publish(ctx, name, &Entry{Kind: KindMessage, Flags: FlagAll, Body: []byte(strings.Repeat("x", 50<<10))}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				held := 0
				for _, h := range n.allHubs() {
					h.mu.RLock()
					held += h.win.bytes
					h.mu.RUnlock()
				}
				if counted := n.Figures().WindowBytes; counted != int64(held) {
					t.Fatalf("%d bytes are counted, %d are held", counted, held)
				}
				if held > nodeBytes+len(names)*minWindowBytes {
					t.Fatalf("the windows hold %d bytes", held)
				}
			}
		}
		var releases []func()
		for _, name := range names {
			release, err := n.Watch(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
			grow(name)
		}
		h := n.acquire("c")
		if held := h.win.bytes; held < minWindowBytes/2 || held > minWindowBytes {
			t.Errorf("the hub that came last has %d bytes, want about a megabyte", held)
		}
		h.release()
		grow("a")
		if held := n.Figures().WindowBytes; held > nodeBytes {
			t.Errorf("the windows hold %d bytes once the largest has grown", held)
		}
		for _, release := range releases {
			release()
		}
		time.Sleep(5 * time.Minute)
		if held := n.Figures().WindowBytes; held != 0 {
			t.Errorf("%d bytes are held of hubs that nobody uses", held)
		}
	})
}
