package streams

import (
	"fmt"
	"testing"
	"time"
)

// What a read has returned is not kept by the tail once the next has begun: the log may have dropped it long since, and nothing else be read
// for as long.
func TestTailKeepsNothingThatWasRead(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	defer m.Close()
	var cursors []Cursor
	for i := 0; len(cursors) < 5; i++ {
		if hub := fmt.Sprint(i); Bucket(hub) == 0 {
			cursors = append(cursors, Cursor{Hub: hub})
		}
	}
	tail := m.Tail(0).(*memoryTail)
	defer tail.Close()
	for i := range cursors {
		for range 20 << i { // each needs more room than there is
			if _, err := m.Append(t.Context(), cursors[i].Hub, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := tail.Read(t.Context(), cursors, 512, 0)
	if err != nil || len(list) != len(cursors) {
		t.Fatalf("%d batches, %v", len(list), err)
	}
	for i, batch := range list {
		cursors[i].After = batch.Entries[len(batch.Entries)-1].Position
	}
	if again, err := tail.Read(t.Context(), cursors, 512, time.Millisecond); err != nil || len(again) > 0 {
		t.Fatalf("%d batches, %v", len(again), err)
	}
	for _, batch := range tail.list[:cap(tail.list)] {
		for _, e := range batch.Entries {
			if e.Data != "" {
				t.Fatalf("hub %s: an entry is still there", batch.Hub)
			}
		}
	}
	for _, e := range tail.entries[:cap(tail.entries)] {
		if e.Data != "" {
			t.Fatal("an entry is still there")
		}
	}
}
