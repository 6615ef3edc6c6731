package streams_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/streams"
)

// promptFollower follows a hub of a node over a store in memory.
type promptFollower struct {
	t        *testing.T
	ctx      context.Context
	stop     func() // the node
	node     *streams.Node
	store    *hookStore
	att      *streams.Attachment
	byAppend atomic.Int64 // wakes in the goroutine of who has appended
	byTail   atomic.Int64
	onWake   atomic.Pointer[func()]
}

// hookStore counts verifications, and calls a function in the middle of what its nodes do.
type hookStore struct {
	*streams.Memory
	verified   atomic.Int64
	beforeRead atomic.Pointer[func()] // once
	afterRead  atomic.Pointer[func()] // of nothing; once
	onRange    atomic.Pointer[func(hub string)]
	tail       atomic.Pointer[streams.Tail] // the newest
}

func (s *hookStore) Verify(ctx context.Context, hub string, r streams.VerifyRequest) (streams.VerifyReply, error) {
	s.verified.Add(1)
	return s.Memory.Verify(ctx, hub, r)
}

func (s *hookStore) Range(ctx context.Context, hub string, after streams.Position, limit int) (streams.RangeReply, error) {
	if f := s.onRange.Load(); f != nil {
		(*f)(hub)
	}
	return s.Memory.Range(ctx, hub, after, limit)
}

func (s *hookStore) Tail(bucket int) streams.Tail {
	t := s.Memory.Tail(bucket)
	s.tail.Store(&t)
	return hookTail{t.(streams.PromptTail), s}
}

type hookTail struct {
	streams.PromptTail
	s *hookStore
}

func (t hookTail) begin() {
	if f := t.s.beforeRead.Swap(nil); f != nil {
		(*f)()
	}
}

func (t hookTail) Read(ctx context.Context, after []streams.Cursor, limit int, block time.Duration) ([]streams.Batch, error) {
	t.begin()
	batches, err := t.PromptTail.Read(ctx, after, limit, block)
	if len(batches) == 0 {
		if f := t.s.afterRead.Swap(nil); f != nil {
			(*f)()
		}
	}
	return batches, err
}

func (t hookTail) Take(after []streams.Cursor, limit int) ([]streams.Batch, bool) {
	t.begin()
	return t.PromptTail.Take(after, limit)
}

func followPromptly(t *testing.T) *promptFollower {
	t.Helper()
	f := &promptFollower{t: t, store: &hookStore{Memory: streams.NewMemory(streams.MemoryConfig{})}}
	ctx, cancel := context.WithCancel(context.Background())
	f.ctx = context.WithoutCancel(ctx)
	f.node = streams.NewNode(f.store, streams.Config{Name: "n1"})
	must(t, "start", f.node.Start(ctx))
	f.stop = func() { cancel(); f.node.Wait() }
	t.Cleanup(func() { f.stop(); _ = f.store.Close() })
	att, _, err := f.node.Follow(f.ctx, hub, streams.Audience{User: "u", Groups: []string{"g"}}, streams.Receipt{}, f.wake)
	must(t, "follow", err)
	f.att = att
	return f
}

func (f *promptFollower) wake() {
	if strings.Contains(string(debug.Stack()), ".Publish") {
		f.byAppend.Add(1)
	} else {
		f.byTail.Add(1)
	}
	if do := f.onWake.Load(); do != nil {
		(*do)()
	}
}

func entryForU(body string) *streams.Entry {
	return &streams.Entry{Kind: streams.KindMessage, Users: []string{"u"}, Body: []byte(body)}
}

func (f *promptFollower) publish(body string) {
	f.t.Helper()
	_, err := f.node.Publish(f.ctx, hub, entryForU(body))
	must(f.t, "publish", err)
}

// publishHeld publishes what is held up while it is delivered by who has published it, until release.
func (f *promptFollower) publishHeld(body string) (release func()) {
	held := make(chan struct{})
	hold := func() { <-held }
	f.onWake.Store(&hold)
	go f.publish(body)
	synctest.Wait()
	f.onWake.Store(nil)
	return func() { close(held) }
}

// next is what has come, one body after the other.
func (f *promptFollower) next() string {
	f.t.Helper()
	var bodies []string
	for {
		items, err := f.att.Next(f.ctx, nil, 1<<20)
		must(f.t, "next", err)
		if len(items) == 0 {
			return strings.Join(bodies, " ")
		}
		for _, item := range items {
			bodies = append(bodies, string(item.Body))
		}
	}
}

func (f *promptFollower) expect(want string) {
	f.t.Helper()
	if got := f.next(); got != want {
		f.t.Errorf("got %q, want %q", got, want)
	}
}

// Who publishes in memory has delivered when the publish returns: nobody had to be woken for it.
func TestWhoAppendsDelivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		for i := range 3 {
			f.publish(fmt.Sprint(i))
			f.expect(fmt.Sprint(i))
		}
		_, _, err := f.node.PublishOnce(f.ctx, hub, "key", "sum", time.Minute, entryForU("once"))
		must(t, "publish once", err)
		f.expect("once")
		if a, b := f.byAppend.Load(), f.byTail.Load(); a != 4 || b != 0 {
			t.Errorf("%d wakes by who appends and %d by the tail, want 4 and 0", a, b)
		}
	})
}

// A write to each of many is most of the work, and the tail's goroutine joins into it what comes meanwhile.
func TestWhatIsForManyIsLeftToTheTail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		for i, e := range []*streams.Entry{
			{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte("0")},
			{Kind: streams.KindMessage, Groups: []string{"g"}, Body: []byte("1")},
			{Kind: streams.KindMessage, Users: []string{"u", strings.Repeat("v", 1000)}, Groups: []string{"g"}, Body: []byte("2")},
		} {
			_, err := f.node.Publish(f.ctx, hub, e)
			must(t, "publish", err)
			synctest.Wait()
			f.expect(fmt.Sprint(i))
		}
		if a, b := f.byAppend.Load(), f.byTail.Load(); a != 0 || b != 3 {
			t.Errorf("%d wakes by who appends and %d by the tail, want 0 and 3", a, b)
		}
		f.publish("3")
		f.expect("3")
		if f.byAppend.Load() != 1 {
			t.Error("the next, which is for one, was left to the tail")
		}
	})
}

// Who finds another at reading waits for nothing, and the other delivers its entry too.
func TestAppendLeavesItsEntryToWhoReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		release := f.publishHeld("1")
		began := time.Now()
		f.publish("2")
		f.publish("3")
		release()
		synctest.Wait()
		f.expect("1 2 3")
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// The same for another hub of the bucket.
func TestAppendLeavesAnotherHubsEntryToWhoReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		name := streams.SameBucket(hub, 1)[0]
		other, _, err := f.node.Follow(f.ctx, name, streams.Audience{User: "u"}, streams.Receipt{}, func() {})
		must(t, "follow", err)
		synctest.Wait()
		release := f.publishHeld("1")
		_, err = f.node.Publish(f.ctx, name, entryForU("2"))
		must(t, "publish", err)
		release()
		synctest.Wait()
		if items, err := other.Next(f.ctx, nil, 1<<20); err != nil || len(items) != 1 {
			t.Errorf("got %d messages and %v, want the one", len(items), err)
		}
	})
}

// What is appended just after the tail has found nothing is read nevertheless.
func TestAppendWhenTheTailHasJustRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		publish := func() { f.publish("just after") }
		f.store.afterRead.Store(&publish)
		(*f.store.tail.Load()).Wake()
		synctest.Wait()
		f.expect("just after")
	})
}

// Where others go on appending, a publish returns nevertheless, and the tail goes on in its place.
func TestAppendDoesNotReadForOthersForever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		left, got := 50, []string(nil)
		again := func() { // one goroutine at a time: whose turn it is
			got = append(got, f.next())
			if left--; left > 0 {
				f.publish(fmt.Sprint(left))
			}
		}
		f.onWake.Store(&again)
		f.publish("50")
		synctest.Wait()
		if len(got) != 50 || got[49] != "1" {
			t.Errorf("got %d messages: %v", len(got), got)
		}
		if n := f.byAppend.Load(); n > 2 {
			t.Errorf("the first publish has delivered %d messages", n)
		}
	})
}

// What is more than one read returns is left to the tail, which proves the log first.
func TestAppendOfMoreThanOneReadReturns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		var all []streams.Outgoing
		var want []string
		for i := range 100 {
			all = append(all, streams.Outgoing{Entry: entryForU(fmt.Sprint(i))})
			want = append(want, fmt.Sprint(i))
		}
		verified := f.store.verified.Load()
		for _, p := range f.node.PublishAll(f.ctx, hub, all) {
			must(t, "publish", p.Err)
		}
		synctest.Wait()
		f.expect(strings.Join(want, " "))
		if f.byAppend.Load() != 0 || f.store.verified.Load() == verified {
			t.Error("who published has delivered it, and nobody verified the log")
		}
	})
}

// After a silence the log is proven before anything of it is delivered, as whoever appends cannot.
func TestAppendAfterASilenceIsVerified(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		time.Sleep(4 * time.Second)
		f.publish("1")
		f.expect("1")
		time.Sleep(5500 * time.Millisecond) // the tail has looked after one, and found that somebody had read
		verified := f.store.verified.Load()
		f.publish("2")
		synctest.Wait()
		f.expect("2")
		if a, b, v := f.byAppend.Load(), f.byTail.Load(), f.store.verified.Load()-verified; a != 1 || b != 1 || v != 1 {
			t.Errorf("%d wakes by who appends, %d by the tail, %d verifications, want one of each", a, b, v)
		}
	})
}

// A node has stopped only when nobody delivers any more, whoever does, and nobody will.
func TestNodeStopsAfterWhoeverDelivers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		synctest.Wait()
		release := f.publishHeld("1")
		stopped := make(chan struct{})
		go func() { f.stop(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("the node has stopped, and its message is being delivered")
		default:
		}
		release()
		<-stopped
		woken := f.byAppend.Load() + f.byTail.Load()
		f.next()
		_, err := f.store.Append(f.ctx, hub, streams.AppendEntry(nil, entryForU("late")))
		must(t, "append", err)
		synctest.Wait()
		if f.byAppend.Load()+f.byTail.Load() != woken {
			t.Error("it was delivered")
		}
	})
}

// A panic of who delivers ends the process: it would be caught by whoever serves the request that appends, with locks held.
func TestPanicOfWhoDeliversEndsTheProcess(t *testing.T) {
	if os.Getenv("PANIC_OF_WHO_DELIVERS") != "" {
		f := followPromptly(t)
		fail := func() { panic("it went wrong") }
		f.onWake.Store(&fail)
		defer func() { _ = recover() }()
		f.publish("1")
		t.Fatal("it went on")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "PANIC_OF_WHO_DELIVERS=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !bytes.Contains(out, []byte("panic: it went wrong")) || bytes.Contains(out, []byte("it went on")) {
		t.Errorf("got %v and %s", err, out)
	}
}

// A hub that is added after the tail has listed its hubs, and before it reads them, is read next, though nobody appends.
func TestHubIsAddedWhileTheTailReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		ctx, store, node := f.ctx, f.store, f.node
		names := streams.SameBucket(hub, 2)
		synctest.Wait()
		ranged, goOn, followed := make(chan struct{}), make(chan struct{}), make(chan struct{})
		n := 0
		hold := func(name string) {
			if name != names[0] {
				return
			}
			if n++; n == 2 { // the proof of what it is to be read from
				close(ranged)
				<-goOn
			}
		}
		store.onRange.Store(&hold)
		var att *streams.Attachment
		var err error
		go func() {
			defer close(followed)
			att, _, err = node.Follow(ctx, names[0], streams.Audience{User: "u"}, streams.Receipt{}, func() {})
		}()
		<-ranged
		_, perr := node.Publish(ctx, names[0], entryForU("after it"))
		must(t, "publish", perr)
		synctest.Wait()
		add := func() { close(goOn); <-followed }
		store.beforeRead.Store(&add)
		_, _, cerr := node.Follow(ctx, names[1], streams.Audience{}, streams.Receipt{}, func() {}) // and the tail reads
		must(t, "follow", cerr)
		<-followed
		must(t, "follow", err)
		synctest.Wait()
		items, err := att.Next(ctx, nil, 1<<20)
		must(t, "next", err)
		if len(items) != 1 {
			t.Errorf("got %d messages, want the one", len(items))
		}
	})
}

// Who is held up before it reads what is left of a trimmed log does not deliver it as if nothing were missing.
func TestAppendThatIsHeldUpBeforeItReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followPromptly(t)
		ctx, store := f.ctx, f.store
		synctest.Wait()
		appendOne := func(body string) streams.Position {
			p, err := store.Append(ctx, hub, streams.AppendEntry(nil, entryForU(body)))
			must(t, "append", err)
			return p
		}
		held := func() {
			dropped := appendOne("dropped")
			appendOne("left")
			_, err := store.Trim(ctx, hub, dropped)
			must(t, "trim", err)
			time.Sleep(5500 * time.Millisecond)
		}
		store.beforeRead.Store(&held)
		appendOne("dropped too")
		time.Sleep(time.Second)
		if items, err := f.att.Next(ctx, nil, 1<<20); !errors.Is(err, streams.ErrGap) {
			t.Errorf("got %d messages and %v, want the gap", len(items), err)
		}
	})
}

// Appends to several hubs of a bucket at once, for one and for all: each is delivered once, in order, and long before the tail looks by itself.
func TestAppendsThatMeet(t *testing.T) {
	t.Parallel()
	f := followPromptly(t)
	ctx, store, node := f.ctx, f.store, f.node
	other := streams.NewNode(store, streams.Config{Name: "n2", Linger: time.Millisecond})
	begun, stop := context.WithCancel(ctx)
	must(t, "start", other.Start(begun))
	defer func() { stop(); other.Wait() }()
	const producers, each = 4, 3000
	var running sync.WaitGroup
	end := make(chan struct{})
	names := streams.SameBucket(hub, 2)
	for _, name := range names {
		for _, n := range []*streams.Node{node, other} {
			bell := make(chan struct{}, 1)
			att, _, err := n.Follow(ctx, name, streams.Audience{User: "u"}, streams.Receipt{}, func() {
				select {
				case bell <- struct{}{}:
				default:
				}
			})
			must(t, "follow", err)
			running.Go(func() {
				next := [producers]int{}
				late := (<-chan time.Time)(nil)
				stop := end
				for got := 0; got < producers*each; {
					items, err := att.Next(ctx, nil, 1<<20)
					if err != nil {
						t.Error("next", err)
						return
					}
					for _, item := range items {
						var p, i int
						fmt.Sscan(string(item.Body), &p, &i)
						if i != next[p] {
							t.Errorf("got %d of %d, want %d", i, p, next[p])
							return
						}
						next[p]++
					}
					if got += len(items); len(items) > 0 {
						continue
					}
					select {
					case <-bell:
					case <-stop:
						stop, late = nil, time.After(3*time.Second)
					case <-late:
						t.Errorf("got %d of %d messages within 3 s of the last", got, producers*each)
						return
					}
				}
			})
		}
	}
	var producing sync.WaitGroup
	for p := range producers {
		producing.Go(func() {
			for i := range each {
				e := entryForU(fmt.Sprint(p, " ", i))
				if i%50 == 0 {
					e.Users, e.Flags = nil, streams.FlagAll
				}
				for _, name := range names {
					if _, err := []*streams.Node{node, other}[(p+i)%2].Publish(ctx, name, e); err != nil {
						t.Error("publish", err)
					}
				}
				if i%7 == 0 {
					time.Sleep(time.Duration(i%5) * 50 * time.Microsecond)
				}
			}
		})
	}
	producing.Wait()
	close(end)
	running.Wait()
}
