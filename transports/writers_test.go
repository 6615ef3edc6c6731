package transports

import (
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hubstream/streams"
)

// startWriters starts two writers, whose sockets are none.
func startWriters(t *testing.T) *writers {
	t.Helper()
	return startWritersOn(t, 2)
}

// startWritersOn starts one writer for each of some processors, which are all that there are until the test ends.
func startWritersOn(t *testing.T, processors int) *writers {
	t.Helper()
	t.Cleanup(func() func() { before := runtime.GOMAXPROCS(processors); return func() { runtime.GOMAXPROCS(before) } }())
	var w writers
	w.start(serverOfWriters())
	t.Cleanup(w.close)
	return &w
}

// serverOfWriters is as much of a server as they need.
func serverOfWriters() *Server {
	return &Server{node: streams.NewNode(streams.NewMemory(streams.MemoryConfig{}), streams.Config{}), log: slog.New(slog.DiscardHandler)}
}

// talker is an origin that has nothing to say, but counts how often it was asked.
type talker struct {
	outlet
	asked atomic.Int64
	ask   func()
}

func (w *writer) talker(ask func()) *talker {
	o := &talker{ask: ask}
	o.writer, o.origin = w, o
	return o
}

func (o *talker) collect(b *batch) bool {
	b.begin()
	if o.asked.Add(1); o.ask != nil {
		o.ask()
	}
	return true
}

func (o *talker) flush()          {}
func (o *talker) describe() Write { return Write{} }

// holdUp starts two writers of which one is held up until the test ends: whichever of them came first.
func holdUp(t *testing.T) *writers {
	t.Helper()
	w := startWriters(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(leave) })
	w.list[0].talker(func() { close(entered); <-leave }).schedule()
	<-entered
	return w
}

// allAsked waits until each has been asked.
func allAsked(t *testing.T, list []*talker, what string) {
	t.Helper()
	askedBut(t, 0, list, what)
}

// askedBut waits until no more than some have not been asked.
func askedBut(t *testing.T, some int, list []*talker, what string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left := 0
		for _, o := range list {
			if o.asked.Load() == 0 {
				left++
			}
		}
		if left <= some {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d connections wait for a writer that is held up, beside one that is not", what, left)
		}
	}
}

// A writer that is held up, as by another program that has its processor, holds up nobody but the connections that it had already taken.
func TestWriterThatIsHeldUpIsHelped(t *testing.T) {
	w := holdUp(t)
	for _, one := range w.list { // of whom one is asleep
		var others []*talker
		for range 100 {
			o := one.talker(nil)
			others = append(others, o)
			o.schedule()
		}
		askedBut(t, writesTooMany-1, others, "100 are queued") // the last few may come when the other has done all and sleeps again
	}
}

// Whatever the writers do at that moment, to sleep, to wake or to take from each other, who has something to say is asked for it. Few
// connections find most: where there are many the next wakes a writer that has been forgotten.
func TestWritersForgetNobody(t *testing.T) {
	w := startWriters(t)
	for _, many := range []int{1, 2, 50} {
		var list []*talker
		for i := range many {
			list = append(list, w.list[i%2].talker(nil))
		}
		for n := range int64(40_000 / many) {
			deadline := time.Now().Add(20 * time.Second)
			for _, o := range list {
				o.schedule()
			}
			for _, o := range list {
				for o.asked.Load() <= n || o.state.Load() != idle {
					if time.Now().After(deadline) {
						t.Fatalf("of %d connections one has something to say and is never asked", many)
					}
				}
			}
		}
	}
}

// A queue that is never empty takes no more memory than what waits in it, and keeps its order.
func TestQueueOfAWriterStaysSmall(t *testing.T) {
	var w writer
	room := make([]*outlet, writesAtOnce)
	var waiting []*outlet
	for range 10_000 {
		for range writesAtOnce {
			o := &outlet{}
			waiting = append(waiting, o)
			if n := w.append(o); n != len(waiting) {
				t.Fatalf("%d are queued, want %d", n, len(waiting))
			}
		}
		for len(waiting) > writesAtOnce/2 {
			n, _ := w.take(room[:min(len(room), len(waiting)-writesAtOnce/2)])
			for i, o := range room[:n] {
				if o != waiting[i] {
					t.Fatal("the queue has lost its order")
				}
			}
			waiting = waiting[n:]
		}
	}
	if cap(w.queue) > 8*writesAtOnce {
		t.Errorf("room for %d, at most %d of which were ever used at once", cap(w.queue), 2*writesAtOnce)
	}
}

// Where there is one processor a writer does not keep it until all is written: neither from what can run nor from what comes from the
// network, which the runtime would take it away for after 10 ms, here 5,000 connections.
func TestWriterLeavesTheProcessorToOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		// other returns what makes a goroutine run that calls ran.
		other func(t *testing.T, ran func()) (start func())
	}{
		{"can run", func(_ *testing.T, ran func()) func() { return func() { go ran() } }},
		{"reads", func(t *testing.T, ran func()) func() {
			here, there := pair(t)
			go func() {
				if _, err := io.ReadFull(there, make([]byte, 1)); err == nil {
					ran()
				}
			}()
			return func() { _, _ = here.Write([]byte{0}) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startWritersOn(t, 1)
			var asked, other atomic.Int64 // other: how many had been asked when it ran
			start := c.other(t, func() { other.Store(asked.Load()) })
			var list []*talker
			for range 20_000 {
				list = append(list, w.list[0].talker(func() {
					if asked.Add(1) == 100 { // it waits for the network by now
						start()
					}
					for began := time.Now(); time.Since(began) < 2*time.Microsecond; {
					}
				}))
			}
			lapped(list)()
			allAsked(t, list, "a lap on one processor")
			if n := other.Load(); n < 100 || n > 100+4*writesInARow {
				t.Errorf("another goroutine, which can run after 100 connections, ran after %d (0: not at all), want %d more", n, writesInARow)
			}
		})
	}
}

// A writer whose pipe is gone, or that gets none, takes breath all the same.
func TestBreathWithoutAPipe(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	var gone, none breath
	gone.take()
	gone.out.Close()
	for _, b := range []*breath{&gone, &none} {
		few := limit
		few.Cur = 3
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		taken := make(chan struct{})
		go func() {
			b.take()
			b.take()
			close(taken)
		}()
		select {
		case <-taken:
		case <-time.After(10 * time.Second):
			t.Error("a writer waits for ever")
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	if none.in != nil {
		t.Error("there was a pipe: the test tests nothing")
	}
	gone.close()
	none.close()
}

// speaker is an origin that has some words to say, of which some are at hand at a time.
type speaker struct {
	outlet
	mu    sync.Mutex
	words []string
}

func (o *speaker) collect(b *batch) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	b.begin()
	if len(o.words) > 0 {
		b.out, o.words = []byte(o.words[0]), o.words[1:]
	}
	b.more = len(o.words) > 0
	return true
}

func (o *speaker) flush() {
	b := &batch{joined: &streams.Joined{}}
	for {
		o.state.Store(flushing)
		for o.collect(b); len(b.out) > 0; o.collect(b) {
			if o.write(b.out) != nil {
				o.state.Store(idle)
				return
			}
		}
		if o.done() {
			return
		}
	}
}

func (o *speaker) describe() Write { return Write{} }

func (o *speaker) say(words ...string) {
	o.mu.Lock()
	o.words = append(o.words, words...)
	o.mu.Unlock()
	o.schedule()
}

// connected returns a speaker, and the other end of its socket.
func (w *writers) connected(t testing.TB) (*speaker, net.Conn) {
	t.Helper()
	here, there := pair(t)
	o := &speaker{}
	o.conn, o.fd, o.timeout, o.writer, o.origin = here, descriptor(here), time.Minute, w.list[0], o
	t.Cleanup(o.hangUp)
	_ = there.SetReadDeadline(time.Now().Add(time.Minute))
	return o, there
}

// The reading goroutine of a connection writes to it, too, and may have to wait for that. The writer goes on meanwhile, and what it had for the
// connection comes after, in order, with all that has come since.
func TestWriterDoesNotWaitForWhoeverWritesToASocket(t *testing.T) {
	w := startWriters(t)
	o, there := w.connected(t)
	o.writing.Lock()
	o.say("1", "2")
	other := w.list[0].talker(nil)
	for n := int64(1); n <= 3; n++ { // what was scheduled first is served by then
		other.schedule()
		for deadline := time.Now().Add(10 * time.Second); other.asked.Load() < n; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the writer waits for a socket that somebody else writes to")
			}
		}
	}
	o.say("3")
	if err := o.writeNow([]byte("0")); err != nil {
		t.Fatal(err)
	}
	o.writing.Unlock()
	got := make([]byte, 4)
	if _, err := io.ReadFull(there, got); err != nil || string(got) != "0123" {
		t.Fatalf("got %q %v, want %q", got, err, "0123")
	}
	o.say("4")
	if _, err := io.ReadFull(there, got[:1]); err != nil || got[0] != '4' {
		t.Fatalf("then got %q %v, want 4", got[:1], err)
	}
}

// After its last bytes nothing is written to a socket, and nobody goes on trying.
func TestNothingIsWrittenAfterTheLastBytes(t *testing.T) {
	w := startWriters(t)
	o, there := w.connected(t)
	o.writing.Lock()
	o.say("1")
	o.finished = true
	o.writing.Unlock()
	o.say("2")
	for deadline := time.Now().Add(10 * time.Second); o.state.Load() != idle; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("somebody still means to write")
		}
	}
	o.hangUp()
	if got, err := io.ReadAll(there); len(got) > 0 {
		t.Errorf("got %q %v", got, err)
	}
}

// A writer's write that fails ends the socket, which nobody may be reading from, and leaves it to nobody.
func TestFailedWriteOfAWriterEndsTheSocket(t *testing.T) {
	w := startWriters(t)
	o, there := w.connected(t)
	if err := there.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	there.Close()
	for deadline := time.Now().Add(10 * time.Second); !o.failed.Load() || !o.isClosed() || o.state.Load() != idle; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("failed: %v, closed: %v, state: %d", o.failed.Load(), o.isClosed(), o.state.Load())
		}
		o.say("1")
	}
}

// That the kernel has not enough for all writers is said, once, and not only where it has nothing for the first.
func TestWritersSayWhoWritesOneByOne(t *testing.T) {
	for _, c := range []struct {
		refused []int
		want    string
	}{{nil, ""}, {[]int{0}, "writers=1 of=3"}, {[]int{1, 2}, "writers=2 of=3"}, {[]int{0, 1, 2}, "writers=3 of=3"}} {
		var said strings.Builder
		s := serverOfWriters()
		s.log = slog.New(slog.NewTextHandler(&said, nil))
		w := &writers{list: []*writer{{}, {}, {}}}
		n := -1
		w.openRounds(s, func(*round) error {
			if n++; slices.Contains(c.refused, n) {
				return syscall.EAGAIN
			}
			return nil
		})
		if got := said.String(); strings.Count(got, "\n") != min(1, len(c.refused)) || !strings.Contains(got, c.want) {
			t.Errorf("without for %v: said %q, want %q in one line", c.refused, got, c.want)
		}
	}
}
