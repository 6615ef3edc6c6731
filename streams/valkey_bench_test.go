package streams_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// The server's own time per operation is reported beside Go's: "srv-ns/op" is its CPU
// time, commands included that scripts call.

func benchValkey(b *testing.B) (*streams.Valkey, *valkeytest.Server) {
	b.Helper()
	server := valkeytest.Start(b, valkeytest.Args())
	return openValkey(b, streams.ValkeyConfig{Addresses: []string{server.Addr}}), server
}

// measure runs the loop and reports the server's CPU time.
func measure(b *testing.B, server *valkeytest.Server, loop func()) {
	b.Helper()
	before := server.CPU()
	b.ReportAllocs()
	b.ResetTimer()
	loop()
	b.StopTimer()
	b.ReportMetric(float64(server.CPU()-before)/float64(b.N), "srv-ns/op")
}

var body = strings.Repeat("x", 200)

func BenchmarkValkeyAppend(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			v, server := benchValkey(b)
			entry := message(body)
			measure(b, server, func() {
				share(callers, b.N, func(int) {
					_, err := v.Append(b.Context(), hub, entry)
					must(b, "append", err)
				})
			})
		})
	}
}

// share calls f n times from several goroutines, with the number of each.
func share(callers, n int, f func(caller int)) {
	var next atomic.Int64
	done := make(chan struct{})
	for caller := range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for next.Add(1) <= int64(n) {
				f(caller)
			}
		}()
	}
	for range callers {
		<-done
	}
}

func BenchmarkValkeyAppendOnce(b *testing.B) {
	v, server := benchValkey(b)
	entry := message(body)
	var n atomic.Int64
	measure(b, server, func() {
		share(64, b.N, func(int) {
			_, _, err := v.AppendOnce(b.Context(), hub, streams.OnceRequest{Key: fmt.Sprint(n.Add(1)), Sum: "s", Entry: entry, Keep: time.Minute})
			must(b, "append", err)
		})
	})
}

// One operation is a poll that finds its connection, and its answer.
func BenchmarkValkeyPollAndAnswer(b *testing.B) {
	for _, c := range []struct {
		name          string
		callers       int
		groups, known int
	}{
		{"callers=1", 1, 0, 0},
		{"callers=64", 64, 0, 0},
		{"callers=64,groups=20,unknown", 64, 20, 0},
		{"callers=64,groups=20,known", 64, 20, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			v, server := benchValkey(b)
			open := func(caller int, owner string) streams.OpenReply {
				r := request(streams.OpenPoll, fmt.Sprint("c", caller), owner)
				r.Membership = uint64(c.known)
				reply, err := v.Open(b.Context(), hub, r)
				must(b, "open", err)
				return reply
			}
			var groups []string
			for i := range c.groups {
				groups = append(groups, fmt.Sprint("group", i))
			}
			for i := range c.callers {
				open(i, "first")
				if c.groups > 0 {
					_, err := v.Join(b.Context(), hub, streams.JoinRequest{ID: fmt.Sprint("c", i), Verb: streams.VerbJoin, Groups: groups, Entry: message("")})
					must(b, "join", err)
				}
			}
			var n atomic.Int64
			measure(b, server, func() {
				share(c.callers, b.N, func(caller int) {
					owner := fmt.Sprint("n", n.Add(1))
					reply := open(caller, owner)
					_, err := v.Answer(b.Context(), hub, streams.AnswerRequest{
						ID: fmt.Sprint("c", caller), Owner: owner, Sent: reply.Last, Lease: time.Minute,
					})
					must(b, "answer", err)
				})
			})
		})
	}
}

// One operation is one connection's share of a batch.
func BenchmarkValkeyTouch(b *testing.B) {
	v, server := benchValkey(b)
	items := make([]streams.TouchItem, 200)
	for i := range items {
		id := fmt.Sprint("c", i)
		_, err := v.Open(b.Context(), hub, request(streams.OpenWebSocket, id, "n1"))
		must(b, "open", err)
		items[i] = streams.TouchItem{ID: id, Owner: "n1", Lease: time.Minute, Save: true, Acked: uint64(i)}
	}
	measure(b, server, func() {
		for n := b.N; n > 0; n -= len(items) {
			_, err := v.Touch(b.Context(), hub, items[:min(n, len(items))])
			must(b, "touch", err)
		}
	})
}

// One operation is one entry, read in batches of 512 through XREAD or Range.
func BenchmarkValkeyRead(b *testing.B) {
	const entries, limit = 1 << 14, 512
	fill := func(b *testing.B) (*streams.Valkey, *valkeytest.Server) {
		v, server := benchValkey(b)
		entry := message(body)
		share(64, entries, func(int) {
			_, err := v.Append(b.Context(), hub, entry)
			must(b, "append", err)
		})
		return v, server
	}
	b.Run("tail", func(b *testing.B) {
		v, server := fill(b)
		tail := v.Tail(streams.Bucket(hub))
		defer tail.Close()
		measure(b, server, func() {
			var p streams.Position
			for n := 0; n < b.N; {
				got, err := tail.Read(b.Context(), []streams.Cursor{{Hub: hub, After: p}}, min(limit, b.N-n), time.Millisecond)
				must(b, "read", err)
				if got == nil {
					p = streams.Position{}
					continue
				}
				n += len(got[0].Entries)
				p = got[0].Entries[len(got[0].Entries)-1].Position
			}
		})
	})
	b.Run("range", func(b *testing.B) {
		v, server := fill(b)
		measure(b, server, func() {
			var p streams.Position
			for n := 0; n < b.N; {
				r, err := v.Range(b.Context(), hub, p, min(limit, b.N-n))
				must(b, "range", err)
				p = streams.Position{}
				if len(r.Entries) > 0 {
					n += len(r.Entries)
					p = r.Entries[len(r.Entries)-1].Position
				}
			}
		})
	})
}

// One operation is an append and its way to a blocked tail.
func BenchmarkValkeyAppendToTail(b *testing.B) {
	v, server := benchValkey(b)
	entry := message(body)
	p, err := v.Append(b.Context(), hub, entry)
	must(b, "append", err)
	tail := v.Tail(streams.Bucket(hub))
	defer tail.Close()
	measure(b, server, func() {
		for range b.N {
			after := p
			read := make(chan error)
			go func() {
				_, err := tail.Read(b.Context(), []streams.Cursor{{Hub: hub, After: after}}, 512, time.Second)
				read <- err
			}()
			p, err = v.Append(b.Context(), hub, entry)
			must(b, "append", err)
			must(b, "read", <-read)
		}
	})
}

// A batch of sends is one round trip and one script. One operation is one entry.
func BenchmarkValkeyAppendAll(b *testing.B) {
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			v, server := benchValkey(b)
			items := make([]streams.OnceRequest, 100)
			for i := range items {
				items[i].Entry = message(body)
			}
			measure(b, server, func() {
				share(callers, (b.N+len(items)-1)/len(items), func(int) {
					_, err := v.AppendAll(b.Context(), hub, items)
					must(b, "append all", err)
				})
			})
		})
	}
}
