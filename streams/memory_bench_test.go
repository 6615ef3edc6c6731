package streams_test

import (
	"fmt"
	"testing"
	"time"

	"hubstream/streams"
)

// An append keeps the entry that it is given, and what reads it uses its memory again: only the log's segments are new.
func TestMemoryAllocatesNothingForAnEntry(t *testing.T) {
	m := streams.NewMemory(streams.MemoryConfig{})
	defer m.Close()
	tail := m.Tail(streams.Bucket("chat"))
	defer tail.Close()
	entry := make([]byte, 200)
	cursors := []streams.Cursor{{Hub: "chat"}}
	got := testing.AllocsPerRun(1000, func() {
		p, err := m.Append(t.Context(), "chat", entry)
		if err != nil {
			t.Fatal(err)
		}
		for cursors[0].After.Before(p) {
			list, err := tail.Read(t.Context(), cursors, 512, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			for _, batch := range list {
				cursors[0].After = batch.Entries[len(batch.Entries)-1].Position
			}
		}
	})
	if got > 0 {
		t.Errorf("an entry allocates %v times, want 0", got)
	}
}

func BenchmarkMemoryAppend(b *testing.B) {
	for _, waiting := range []bool{false, true} {
		b.Run(fmt.Sprintf("tail=%t", waiting), func(b *testing.B) {
			m := streams.NewMemory(streams.MemoryConfig{})
			defer m.Close()
			if waiting {
				tail := m.Tail(streams.Bucket("chat"))
				go drain(b, tail)
				defer tail.Close()
			}
			entry := make([]byte, 200)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				p, err := m.Append(b.Context(), "chat", entry)
				if err != nil {
					b.Fatal(err)
				}
				if n++; n%100_000 == 0 {
					m.Trim(b.Context(), "chat", p)
				}
			}
		})
	}
}

// drain reads a tail until it is closed.
func drain(b *testing.B, tail streams.Tail) {
	var after streams.Position
	for {
		list, err := tail.Read(b.Context(), []streams.Cursor{{Hub: "chat", After: after}}, 512, time.Second)
		if err != nil {
			return
		}
		for _, batch := range list {
			after = batch.Entries[len(batch.Entries)-1].Position
		}
	}
}

func BenchmarkMemoryRange(b *testing.B) {
	m := streams.NewMemory(streams.MemoryConfig{})
	defer m.Close()
	positions := make([]streams.Position, 100_000)
	for i := range positions {
		positions[i], _ = m.Append(b.Context(), "chat", []byte("entry"))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % len(positions)
		if _, err := m.Range(b.Context(), "chat", positions[i], 16); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemoryPoll(b *testing.B) {
	m := streams.NewMemory(streams.MemoryConfig{})
	defer m.Close()
	open := streams.OpenRequest{
		Mode: streams.OpenPoll, ID: "c", Owner: "n1", Lease: time.Minute, NewLease: time.Minute,
		CreateUntil: time.Now().Add(time.Hour).UnixMilli(), Membership: 0,
	}
	m.Open(b.Context(), "chat", open)
	b.ReportAllocs()
	for b.Loop() {
		r, err := m.Open(b.Context(), "chat", open)
		if err != nil {
			b.Fatal(err)
		}
		_, err = m.Answer(b.Context(), "chat", streams.AnswerRequest{ID: "c", Owner: "n1", Sent: r.Last, Lease: time.Minute})
		if err != nil {
			b.Fatal(err)
		}
	}
}
