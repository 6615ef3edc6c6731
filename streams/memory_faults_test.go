package streams_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
	"hubstream/streams/streamstest"
)

// faulty is a store with faults and a hub in it.
type faulty struct {
	*testing.T
	*streams.FaultyMemory
	ctx context.Context
}

const faultyHub = "chat"

func newFaulty(t *testing.T) faulty {
	f := faulty{t, streams.NewFaultyMemory(), t.Context()}
	t.Cleanup(func() { f.FaultyMemory.Close() })
	return f
}

func (f faulty) send(body string) streams.Position {
	f.Helper()
	p, err := f.Append(f.ctx, faultyHub, []byte(body))
	f.must(err)
	return p
}

func (f faulty) bodies() []string {
	f.Helper()
	r, err := f.Range(f.ctx, faultyHub, streams.Position{}, 1000)
	f.must(err)
	var list []string
	for _, e := range r.Entries {
		if d, err := streams.DecodeEntry(e.Data); err == nil && d.Kind == streams.KindGen {
			list = append(list, "gen")
		} else {
			list = append(list, e.Data)
		}
	}
	return list
}

func (f faulty) holds(want ...string) {
	f.Helper()
	if got := f.bodies(); fmt.Sprint(got) != fmt.Sprint(want) {
		f.Errorf("log: got %q, want %q", got, want)
	}
}

func (f faulty) verify(last, proof streams.Position, entry string) streams.VerifyReply {
	f.Helper()
	v, err := f.Verify(f.ctx, faultyHub, streams.VerifyRequest{Last: last, Proof: proof, ProofEntry: entry})
	f.must(err)
	return v
}

func (f faulty) open(owner string) (streams.OpenReply, error) {
	return f.Open(f.ctx, faultyHub, streams.OpenRequest{
		Mode: streams.OpenWebSocket, ID: "c", Owner: owner, NewLease: time.Minute, Lease: time.Minute,
		CreateUntil: time.Now().Add(24 * time.Hour).UnixMilli(),
	})
}

func (f faulty) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f faulty) refused(got, want error) {
	f.Helper()
	if !errors.Is(got, want) {
		f.Errorf("got error %v, want %v", got, want)
	}
}

func TestFaultyMemoryWithoutFaults(t *testing.T) {
	t.Parallel()
	streamstest.Run(t, func(t *testing.T) streams.Store { return newFaulty(t) })
}

func TestACleanFailoverIsProven(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	p := f.send("1")
	before := f.verify(p, p, "1")
	_, err := f.open("n1")
	f.must(err)

	f.ChangeRun()
	_, err = f.open("n2")
	f.refused(err, streams.ErrUnverified)
	after := f.verify(p, p, "1")
	if !after.Proven || after.Gen == before.Gen || after.Run == before.Run {
		t.Errorf("got %+v after %+v, want it proven, of a new generation and run", after, before)
	}
	f.holds("gen", "1", "gen")
	if again := f.verify(after.Last, p, "1"); again != after {
		t.Errorf("a second verify: got %+v, want %+v", again, after)
	}

	_, err = f.open("n2")
	f.refused(err, streams.ErrGeneration)
	f.must(f.Restamp(f.ctx, faultyHub, "n1", []streams.RestampItem{{ID: "c"}}, before.Gen, after.Gen))
	_, err = f.open("n2")
	f.must(err)
}

func TestALostTailIsFound(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	p1, p2, p3 := f.send("1"), f.send("2"), f.send("3")
	f.RollBack(faultyHub, p1)
	f.ChangeRun()
	f.StepClock(-time.Hour)
	f.holds("gen", "1")

	v := f.verify(p3, p3, "3")
	if v.Proven {
		t.Error("a log that lost its tail is proven")
	}
	if !v.Last.After(p3) {
		t.Errorf("the log goes on at %v, want it after %v", v.Last, p3)
	}
	if !f.verify(v.Last, p1, "1").Proven {
		t.Error("what is left of the log is not proven")
	}
	if f.verify(v.Last, p2, "2").Proven {
		t.Error("a lost entry is proven")
	}
	if p := f.send("4"); !p.After(p3) {
		t.Errorf("position %v was given again", p)
	}
	f.holds("gen", "1", "gen", "4")
}

// The same position again, with another entry: what a rolled back clock makes possible.
func TestAnotherEntryAtTheLostPositionIsNoProof(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	p1 := f.send("1")
	f.StepClock(-time.Hour)
	p2 := f.send("2")
	f.RollBack(faultyHub, p1)
	if p := f.send("x"); p != p2 {
		t.Fatalf("got position %v, want %v again", p, p2)
	}
	if f.verify(p2, p2, "2").Proven {
		t.Error("another entry at the position is taken for a proof")
	}
}

func TestARollBackMayTakeTheRecordsAlong(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.send("1")
	restore := f.Checkpoint(faultyHub)
	_, err := f.open("n1")
	f.must(err)
	f.send("2")
	restore()
	f.holds("gen", "1")
	_, err = f.Lookup(f.ctx, faultyHub, "c")
	f.refused(err, streams.ErrGone)

	_, err = f.open("n1")
	f.must(err)
	restore = f.Checkpoint(faultyHub)
	_, err = f.End(f.ctx, faultyHub, streams.EndRequest{ID: "c", Entry: []byte("end"), Tombstone: time.Minute})
	f.must(err)
	restore()
	r, err := f.Lookup(f.ctx, faultyHub, "c")
	f.must(err)
	if r.Record.Owner != "n1" {
		t.Errorf("owner: got %q, want n1", r.Record.Owner)
	}
}

func TestPositionsGrowWhateverTheClockDoes(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	before := f.send("now")
	for _, step := range []time.Duration{-time.Hour, 2 * time.Hour, -24 * time.Hour, -1e6 * time.Hour, 1e6 * time.Hour} {
		f.StepClock(step)
		p := f.send(step.String())
		if !p.After(before) {
			t.Errorf("position %v after a step of %v is not after %v", p, step, before)
		}
		before = p
	}
}

func TestAStoreThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty(t)
		p := f.send("1")
		after := []streams.Cursor{{Hub: faultyHub, After: p}}
		tail := f.Tail(streams.Bucket(faultyHub))
		defer tail.Close()
		blocked := make(chan error)
		go func() {
			_, err := tail.Read(f.ctx, after, 10, time.Hour)
			blocked <- err
		}()
		synctest.Wait()
		f.SetAvailable(false)
		f.refused(<-blocked, streams.ErrUnavailable)
		_, err := f.Append(f.ctx, faultyHub, []byte("2"))
		f.refused(err, streams.ErrUnavailable)
		f.SetAvailable(true)
		f.holds("gen", "1")

		// A loss that came and went between two reads is told once.
		f.SetAvailable(false)
		f.SetAvailable(true)
		_, err = tail.Read(f.ctx, after, 10, time.Hour)
		f.refused(err, streams.ErrUnavailable)
		f.send("2")
		list, err := tail.Read(f.ctx, after, 10, time.Hour)
		if err != nil || len(list) != 1 {
			t.Errorf("read %v, %v, want the entry", list, err)
		}
	})
}

func TestALostAnswerLeavesTheEntry(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	f.LoseNextAnswer()
	_, err := f.Append(f.ctx, faultyHub, []byte("1"))
	f.refused(err, streams.ErrOutcomeUnknown)
	f.send("2")
	f.holds("gen", "1", "2")
}

func TestATailWaitsWithoutPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFaulty(t)
		p := f.send("1")
		tail := f.Tail(streams.Bucket(faultyHub))
		defer tail.Close()
		start := time.Now()
		list, err := tail.Read(f.ctx, []streams.Cursor{{Hub: faultyHub, After: p}}, 10, time.Hour)
		if err != nil || list != nil || time.Since(start) != time.Hour {
			t.Errorf("got %v, %v after %v, want nothing after an hour", list, err, time.Since(start))
		}
		go func() {
			time.Sleep(time.Minute)
			f.Append(f.ctx, faultyHub, []byte("2"))
		}()
		start = time.Now()
		list, err = tail.Read(f.ctx, []streams.Cursor{{Hub: faultyHub, After: p}}, 10, time.Hour)
		if err != nil || len(list) != 1 || time.Since(start) != time.Minute {
			t.Errorf("got %v, %v after %v, want the entry after a minute", list, err, time.Since(start))
		}
	})
}

func TestKeysAndTombstonesDoNotPileUp(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	const many = 1000
	once := func(key string) bool {
		_, replayed, err := f.AppendOnce(f.ctx, faultyHub, streams.OnceRequest{Key: key, Sum: "s", Entry: []byte("x"), Keep: time.Minute})
		f.must(err)
		return replayed
	}
	end := func() {
		_, err := f.End(f.ctx, faultyHub, streams.EndRequest{ID: "c", Entry: []byte("end"), Tombstone: time.Minute})
		f.must(err)
	}
	for i := range many {
		once(fmt.Sprint(i))
		_, err := f.Open(f.ctx, faultyHub, streams.OpenRequest{Mode: streams.OpenPost, ID: fmt.Sprint(i), CreateUntil: time.Now().Add(time.Hour).UnixMilli()})
		f.must(err)
		_, err = f.End(f.ctx, faultyHub, streams.EndRequest{ID: fmt.Sprint(i), Entry: []byte("end"), Tombstone: time.Minute})
		f.must(err)
	}
	f.StepClock(59 * time.Second)
	if !once("7") {
		t.Error("a key was forgotten before its time")
	}
	if keys, graves, _ := f.Held(faultyHub); keys != many || graves != many {
		t.Errorf("holds %d keys and %d tombstones, want %d", keys, graves, many)
	}
	f.StepClock(2 * time.Second)
	if once("7") {
		t.Error("a key was kept beyond its time")
	}
	// Whatever is called from then on sweeps some: appends with keys, ends, trims.
	for range many / 10 {
		end()
	}
	if keys, graves, _ := f.Held(faultyHub); keys != 1 || graves != 0 {
		t.Errorf("holds %d keys and %d tombstones, want 1 and 0", keys, graves)
	}
	_, err := f.open("n1")
	f.must(err)
	end()
	f.StepClock(61 * time.Second)
	_, err = f.open("n1") // although its tombstone has not been swept
	f.must(err)
	end()
	if _, graves, _ := f.Held(faultyHub); graves != 1 {
		t.Errorf("holds %d tombstones, want 1", graves)
	}
}

func TestTrimmedLogsTakeNoRoom(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	var last streams.Position
	for round := range 20 {
		for i := range 1000 {
			last = f.send(fmt.Sprint(round, i))
		}
		r, err := f.Trim(f.ctx, faultyHub, last)
		f.must(err)
		if r.Entries != 0 || r.Bytes != 0 {
			t.Fatalf("the emptied log has %d entries of %d bytes", r.Entries, r.Bytes)
		}
		if _, _, segments := f.Held(faultyHub); segments > 1 {
			t.Fatalf("the emptied log takes %d segments", segments)
		}
	}
}

// A node that lost nothing must learn that another one did: what that one had accepted is gone for all.
func TestALossThatOneNodeFindsIsALossForAll(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	p1 := f.send("1")
	first := f.verify(p1, p1, "1")
	p2 := f.send("2") // only one node has seen it
	f.RollBack(faultyHub, p1)
	f.ChangeRun()
	verify := func(gen string, p streams.Position, entry string) streams.VerifyReply {
		t.Helper()
		v, err := f.Verify(f.ctx, faultyHub, streams.VerifyRequest{Last: p, Proof: p, ProofEntry: entry, Gen: gen})
		f.must(err)
		return v
	}
	clean := verify(first.Gen, p1, "1")
	if !clean.Proven || clean.Gen == first.Gen {
		t.Fatalf("got %+v, want a proven new generation", clean)
	}
	lost := verify(first.Gen, p2, "2")
	if lost.Proven || lost.Gen == clean.Gen {
		t.Fatalf("got %+v, want an unproven generation after %s", lost, clean.Gen)
	}
	if again := verify(first.Gen, p2, "2"); again != lost {
		t.Errorf("a repetition: got %+v, want %+v", again, lost)
	}
	for _, gen := range []string{first.Gen, clean.Gen} {
		if v := verify(gen, p1, "1"); v.Proven || v.Gen != lost.Gen {
			t.Errorf("since %s: got %+v, want the unproven generation %s", gen, v, lost.Gen)
		}
	}
	if v := verify(lost.Gen, p1, "1"); !v.Proven || v.Gen != lost.Gen {
		t.Errorf("since the loss: got %+v, want generation %s proven", v, lost.Gen)
	}
}

// A loss that was found can be lost itself, with the entry that told of it, when the store goes back once more. Who found it may have read
// nothing since, and so has no proof; others know nothing of either.
func TestALossThatIsLostItselfIsNotForgotten(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		f := newFaulty(t)
		var restore func()
		lossIsLost(t, f.FaultyMemory, func() { restore = f.Checkpoint(hub) }, func() {
			restore()
			f.ChangeRun()
		})
	})
	t.Run("Valkey", func(t *testing.T) {
		t.Parallel()
		server := valkeytest.Start(t)
		lossIsLost(t, openValkey(t, streams.ValkeyConfig{Addresses: []string{server.Addr}}), func() { server.Do("SAVE") }, func() {
			server.Kill()
			server.Start()
		})
	})
}

// lossIsLost has a store go back twice to what it was at remember.
func lossIsLost(t *testing.T, s streams.Store, remember, goBack func()) {
	verify := func(gen string, last streams.Position, proof streams.RawEntry) (reply streams.VerifyReply) {
		t.Helper()
		eventually(t, "verify", func() (err error) { // the first calls may go to the connection that is gone
			reply, err = s.Verify(t.Context(), hub, streams.VerifyRequest{Last: last, Proof: proof.Position, ProofEntry: proof.Data, Gen: gen})
			return err
		})
		return reply
	}
	send := func(body string) streams.RawEntry {
		t.Helper()
		p, err := s.Append(t.Context(), hub, message(body))
		must(t, "append", err)
		return streams.RawEntry{Position: p, Data: string(message(body))}
	}
	first := send("1")
	before := verify("", streams.Position{}, streams.RawEntry{})
	remember()
	second := send("2")
	goBack()
	found := verify(before.Gen, second.Position, second)
	if found.Proven {
		t.Fatal("what is lost is proven")
	}
	goBack()
	again := verify(found.Gen, found.Last, streams.RawEntry{})
	if again.Proven || again.Gen == found.Gen {
		t.Errorf("who had found the loss: got %+v, want an unproven generation after %s", again, found.Gen)
	}
	if v := verify(before.Gen, first.Position, first); v.Proven || v.Gen != again.Gen {
		t.Errorf("who had seen nothing of it: got %+v, want the unproven generation %s", v, again.Gen)
	}
	if v := verify(found.Gen, found.Last, streams.RawEntry{}); v.Proven || v.Gen != again.Gen {
		t.Errorf("a repetition: got %+v, want the unproven generation %s", v, again.Gen)
	}
}

// The log's last entry survived, but not what was written to a record after it.
func TestARecordOlderThanItsNodeKnowsIsNotCarriedOver(t *testing.T) {
	t.Parallel()
	f := newFaulty(t)
	p := f.send("1")
	gen := f.verify(p, p, "1").Gen
	poll := func(mark string) (streams.OpenReply, error) {
		return f.Open(f.ctx, faultyHub, streams.OpenRequest{
			Mode: streams.OpenPoll, ID: "c", Owner: "n1." + mark, Mark: mark, NewLease: time.Minute, Lease: time.Minute,
			CreateUntil: time.Now().Add(24 * time.Hour).UnixMilli(),
		})
	}
	_, err := poll("1")
	f.must(err)
	_, err = poll("2")
	f.must(err)
	restore := f.Checkpoint(faultyHub)
	n, err := f.Answer(f.ctx, faultyHub, streams.AnswerRequest{ID: "c", Owner: "n1.2", Sent: p, Mark: "2", Lease: time.Minute})
	f.must(err)
	restore()
	f.ChangeRun()
	next := f.verify(p, p, "1").Gen
	f.must(f.Restamp(f.ctx, faultyHub, "n1", []streams.RestampItem{{ID: "c", Answers: n}}, gen, next))
	_, err = poll("3")
	f.refused(err, streams.ErrGeneration)
	f.must(f.Restamp(f.ctx, faultyHub, "n1", []streams.RestampItem{{ID: "c"}}, gen, next)) // by who does not know
	_, err = poll("4")
	f.refused(err, streams.ErrGeneration)
}
