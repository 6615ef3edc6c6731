package streams

import (
	"errors"
	"testing"
	"time"
)

// What a read has returned is not kept by the tail once the next has begun: the log may have dropped it long since, and nothing else be read
// for as long.
func TestTailKeepsNothingThatWasRead(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	defer m.Close()
	var cursors []Cursor
	for _, hub := range SameBucket("h", 5) {
		cursors = append(cursors, Cursor{Hub: hub})
	}
	tail := m.Tail(Bucket("h")).(*memoryTail)
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

// After a loss nothing is taken before a Read has told it, even if somebody has waited meanwhile.
func TestNothingIsTakenBeforeALossIsTold(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	defer m.Close()
	tail := m.Tail(Bucket("h")).(*memoryTail)
	defer tail.Close()
	if _, err := m.Append(t.Context(), "h", []byte("x")); err != nil {
		t.Fatal(err)
	}
	cursors := []Cursor{{Hub: "h"}}
	take := func() int {
		list, ok := tail.Take(cursors, 10)
		if !ok {
			return -1
		}
		return len(list)
	}
	if n := take(); n != 1 {
		t.Fatalf("took %d", n)
	}
	tail.bucket.lose()
	if n := take(); n != -1 {
		t.Errorf("took %d after a loss", n)
	}
	tail.Wait(time.Hour)
	if n := take(); n != -1 {
		t.Errorf("took %d after a wait", n)
	}
	if _, err := tail.Read(t.Context(), cursors, 10, 0); !errors.Is(err, ErrUnavailable) {
		t.Errorf("read %v, want the loss", err)
	}
	if n := take(); n != 1 {
		t.Errorf("took %d after it was told", n)
	}
	tail.Close()
	if n := take(); n != -1 {
		t.Errorf("took %d of a closed tail", n)
	}
}

// A tail that is closed takes no other with it, which would learn of nothing any more, and stays nowhere: a node that has stopped would be
// told of all that is appended.
func TestClosedTailIsForgottenAlone(t *testing.T) {
	m := NewMemory(MemoryConfig{})
	defer m.Close()
	closed, stays := m.Tail(Bucket("h")).(*memoryTail), m.Tail(Bucket("h")).(*memoryTail)
	defer stays.Close()
	told := 0
	closed.OnAppend(func(string) bool { told++; return true })
	closed.Close()
	if _, err := m.Append(t.Context(), "h", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if told > 0 {
		t.Error("the closed tail was told of an append")
	}
	if !rung(stays.news) {
		t.Error("the other tail was not told of an append")
	}
}
