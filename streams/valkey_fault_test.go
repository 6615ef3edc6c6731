package streams_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

const hub = "chat"

func message(body string) []byte {
	return streams.AppendEntry(nil, &streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)})
}

func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// eventually tries until it succeeds.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// user is a store with the steps of a test, each of which must succeed.
type user struct {
	*streams.Valkey
	t *testing.T
}

func use(t *testing.T, cfg streams.ValkeyConfig) user {
	t.Helper()
	return user{openValkey(t, cfg), t}
}

func (u user) send(body string) streams.Position {
	u.t.Helper()
	p, err := u.Append(u.t.Context(), hub, message(body))
	must(u.t, "append "+body, err)
	return p
}

func (u user) verify(r streams.VerifyRequest) streams.VerifyReply {
	u.t.Helper()
	reply, err := u.Verify(u.t.Context(), hub, r)
	must(u.t, "verify", err)
	return reply
}

func (u user) log() (bodies []string) {
	u.t.Helper()
	r, err := u.Range(u.t.Context(), hub, streams.Position{}, 1000)
	must(u.t, "range", err)
	for _, e := range r.Entries {
		entry, err := streams.DecodeEntry(e.Data)
		must(u.t, "decode", err)
		if entry.Kind != streams.KindGen {
			bodies = append(bodies, string(entry.Body))
		}
	}
	return bodies
}

func (u user) wantLog(want ...string) {
	u.t.Helper()
	if got := u.log(); strings.Join(got, " ") != strings.Join(want, " ") {
		u.t.Errorf("the log holds %q, want %q", got, want)
	}
}

// request opens a connection that may be created.
func request(mode streams.OpenMode, id, owner string) streams.OpenRequest {
	return streams.OpenRequest{
		Mode: mode, ID: id, User: "ann", Owner: owner, CreateUntil: 1 << 50,
		Lease: time.Minute, NewLease: time.Minute, Moved: message("moved"),
	}
}

func (u user) open(r streams.OpenRequest) streams.OpenReply {
	u.t.Helper()
	reply, err := u.Open(u.t.Context(), hub, r)
	must(u.t, "open", err)
	return reply
}

// stateful opens a stateful WebSocket.
func (u user) stateful(id, owner string) streams.OpenReply {
	u.t.Helper()
	reply := u.open(request(streams.OpenWebSocket, id, owner))
	_, err := u.Handshake(u.t.Context(), hub, streams.HandshakeRequest{ID: id, Owner: owner, Protocol: 1, Version: 2, Lease: time.Minute})
	must(u.t, "handshake", err)
	_, err = u.Touch(u.t.Context(), hub, []streams.TouchItem{{ID: id, Owner: owner, Lease: time.Minute, Heard: true}})
	must(u.t, "touch", err)
	return reply
}

func TestValkeyRestartedEmptyIsNotTakenForTheOldLog(t *testing.T) {
	server := valkeytest.Start(t)
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	p := u.send("1")
	before := u.verify(streams.VerifyRequest{Last: p, Proof: p, ProofEntry: string(message("1"))})
	u.stateful("c", "n1")
	tail := u.Tail(streams.Bucket(hub))
	defer tail.Close()
	_, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub}}, 10, time.Second)
	must(t, "read", err)

	server.Kill()
	_, err = tail.Read(t.Context(), []streams.Cursor{{Hub: hub, After: p}}, 10, time.Second)
	want(t, "a tail whose server was killed", err, streams.ErrUnavailable)
	// The first may still go to connections that are gone, of which the client has learnt only when it can be scheduled.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, err = u.Append(t.Context(), hub, message("2"))
		if !errors.Is(err, streams.ErrOutcomeUnknown) || time.Now().After(end) {
			break
		}
	}
	want(t, "an append while nobody listens", err, streams.ErrUnavailable)
	server.Start()

	after := u.verify(streams.VerifyRequest{Last: p, Proof: p, ProofEntry: string(message("1"))})
	if after.Proven || after.Gen == before.Gen || after.Run == before.Run || !after.Last.After(p) {
		t.Errorf("verified %+v, want an unproven new generation of another run, beyond %v", after, p)
	}
	_, err = u.Open(t.Context(), hub, streams.OpenRequest{Mode: streams.OpenReattach, ID: "c", User: "ann", Owner: "n2", Ticket: 1})
	want(t, "a reattach", err, streams.ErrGone)
	next := u.send("3")
	got, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub, After: after.Last}}, 10, time.Second)
	must(t, "read again", err)
	if len(got) != 1 || len(got[0].Entries) != 1 || got[0].Entries[0].Position != next {
		t.Errorf("the tail read %+v, want the entry at %v", got, next)
	}
}

func TestValkeyRestartedWithItsDataIsProven(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.AppendOnly())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	p := u.send("1")
	u.stateful("c", "n1")
	u.stateful("d", "n1.a")
	before := u.verify(streams.VerifyRequest{})

	server.Kill()
	server.Start()
	_, err := u.Open(t.Context(), hub, request(streams.OpenWebSocket, "c", "n2"))
	want(t, "an upgrade before the generation is verified", err, streams.ErrUnverified)
	after := u.verify(streams.VerifyRequest{Last: p, Proof: p, ProofEntry: string(message("1"))})
	if !after.Proven || after.Gen == before.Gen || after.Run == before.Run {
		t.Errorf("verified %+v, want a proven new generation of another run than %+v", after, before)
	}
	_, err = u.Open(t.Context(), hub, request(streams.OpenWebSocket, "c", "n2"))
	want(t, "an upgrade before the record is moved to the new generation", err, streams.ErrGeneration)
	must(t, "restamp", u.Restamp(t.Context(), hub, "n1", []streams.RestampItem{{ID: "c"}}, before.Gen, after.Gen))
	if reply := u.open(request(streams.OpenWebSocket, "c", "n2")); reply.Outcome != streams.OpenTicket {
		t.Errorf("got outcome %v, want a ticket", reply.Outcome)
	}
	for _, owner := range []string{"n1.b", "n1.a"} { // what names the caller is moved, whichever generation it knew
		must(t, "restamp", u.Restamp(t.Context(), hub, "n1", []streams.RestampItem{{ID: "d", Owner: owner}}, after.Gen, after.Gen))
		_, err = u.Open(t.Context(), hub, request(streams.OpenWebSocket, "d", "n2"))
		if owner == "n1.a" {
			must(t, "an upgrade after its owner has moved the record", err)
		} else {
			want(t, "an upgrade after another has tried to move the record", err, streams.ErrGeneration)
		}
	}
	u.wantLog("1")
}

func TestValkeyReplicaWithoutTheTailIsNotProven(t *testing.T) {
	primary := valkeytest.Start(t, valkeytest.Args("--repl-diskless-sync-delay", "0"))
	replica := valkeytest.Start(t, valkeytest.ReplicaOf(primary))
	valkeytest.WaitReplica(t, replica)
	r := startRelay(t, primary.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}, Prefix: "rolledback"})
	p1 := u.send("1")
	before := u.verify(streams.VerifyRequest{})
	eventually(t, "replication", func() error {
		if n := replica.Do("XLEN", fmt.Sprintf("{rolledback:%d}:chat:log", streams.Bucket(hub))); n != "2" {
			return fmt.Errorf("%s entries", n)
		}
		return nil
	})
	replica.Do("REPLICAOF", "127.0.0.1", "1") // cut off
	p2 := u.send("2")

	primary.Kill()
	replica.Do("REPLICAOF", "NO", "ONE")
	r.lead(replica.Addr)
	r.cut()
	after := u.verify(streams.VerifyRequest{Last: p2, Proof: p2, ProofEntry: string(message("2"))})
	if after.Proven || after.Gen == before.Gen || !after.Last.After(p2) {
		t.Errorf("verified %+v, want an unproven new generation beyond %v", after, p2)
	}
	if v := u.verify(streams.VerifyRequest{Last: p1, Proof: p1, ProofEntry: string(message("1"))}); !v.Proven {
		t.Error("a node that had not seen what was lost has no proof")
	}
	if p := u.send("3"); !p.After(p2) {
		t.Errorf("position %v was given although %v had been seen", p, p2)
	}
	u.wantLog("1", "3")
}

func TestValkeyThatHangsKeepsNobodyWaiting(t *testing.T) {
	// busy is what a machine with much else to do may add; without a limit a call would wait for ten seconds and more.
	const timeout, busy = 500 * time.Millisecond, 5 * time.Second
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: timeout})
	u.send("1")
	u.open(request(streams.OpenPost, "c", ""))
	tail := u.Tail(streams.Bucket(hub))
	defer tail.Close()
	_, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub}}, 10, time.Second)
	must(t, "read", err)
	u.send("1") // on a busy machine the connection may have been given up meanwhile, and what comes next finds none

	server.Pause()
	resumed := false
	defer func() {
		if !resumed {
			server.Resume()
		}
	}()
	within := func(what string, call func() error) {
		t.Helper()
		start := time.Now()
		err := call()
		if took := time.Since(start); took > timeout+busy {
			t.Errorf("%s took %v, want about %v", what, took, timeout)
		}
		if !errors.Is(err, streams.ErrUnavailable) && !errors.Is(err, streams.ErrOutcomeUnknown) {
			t.Errorf("%s: got %v, want an outage", what, err)
		}
	}
	within("append", func() error {
		_, err := u.Append(t.Context(), hub, message("2"))
		want(t, "an append that was sent", err, streams.ErrOutcomeUnknown)
		return err
	})
	within("lookup", func() error { _, err := u.Lookup(t.Context(), hub, "c"); return err })
	within("range", func() error { _, err := u.Range(t.Context(), hub, streams.Position{}, 1); return err })
	within("ready", func() error { return u.Ready(t.Context()) })
	within("a call whose caller gives up", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := u.Lookup(ctx, hub, "c")
		return err
	})
	within("tail", func() error {
		_, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub, After: streams.NewPosition(1<<50, 0)}}, 10, 10*time.Millisecond)
		return err
	})
	// More callers than calls in flight, for longer than the connection is trusted.
	errs := make(chan error)
	const callers = 800
	for range callers {
		go func() {
			start := time.Now()
			for range 3 {
				if _, err := u.Append(t.Context(), hub, message("x")); err == nil {
					errs <- errors.New("an append succeeded")
					return
				}
			}
			if took := time.Since(start); took > 6*timeout {
				errs <- fmt.Errorf("three appends took %v", took)
				return
			}
			errs <- nil
		}()
	}
	for range callers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}

	server.Resume()
	resumed = true
	eventually(t, "an append to the server that is back", func() error {
		_, err := u.Append(t.Context(), hub, message("last"))
		return err
	})
	_, err = tail.Read(t.Context(), []streams.Cursor{{Hub: hub}}, 10, time.Second)
	must(t, "read again", err)
}

func TestValkeyThatEvictsIsNotReady(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	var log bytes.Buffer
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, "ready", u.Ready(t.Context()))
	server.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	if err := u.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "noeviction") {
		t.Errorf("got %v, want an error that says what to set", err)
	}
	server.Do("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
	must(t, "ready with volatile-ttl", u.Ready(t.Context()))
	if !strings.Contains(log.String(), "volatile-ttl") {
		t.Errorf("logged %q, want a warning about volatile-ttl", log.String())
	}
}

// What is sent is accepted then, and arrives nowhere.
func TestValkeyWhoseLogsCannotBeReadIsNotReady(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	server.Do("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-xread")
	u := use(t, streams.ValkeyConfig{Addresses: []string{"valkey://limited:secret@" + server.Addr}})
	if err := u.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "xread") {
		t.Errorf("got %v, want an error that says what to allow", err)
	}
	server.Do("ACL", "SETUSER", "limited", "+xread")
	must(t, "ready", u.Ready(t.Context()))
}

func TestValkeyReplicaIsNotReady(t *testing.T) {
	primary := valkeytest.Start(t, valkeytest.Args("--repl-diskless-sync-delay", "0"))
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}, CallTimeout: time.Second})
	u.send("1")
	host, port, _ := strings.Cut(primary.Addr, ":")
	server.Do("REPLICAOF", host, port)
	valkeytest.WaitReplica(t, server)
	want(t, "ready on a replica", u.Ready(t.Context()), streams.ErrUnavailable)
	err := streams.ErrOutcomeUnknown
	for errors.Is(err, streams.ErrOutcomeUnknown) { // its connection is given up just then
		_, err = u.Append(t.Context(), hub, message("2"))
	}
	want(t, "an append to a replica", err, streams.ErrUnavailable)

	// The address leads to the new primary now; connections to the old one are given up.
	r.lead(primary.Addr)
	_, _ = u.Append(t.Context(), hub, message("3"))
	u.send("4")
	must(t, "ready", u.Ready(t.Context()))
}

// Who asks whether a node is ready waited for as long as a call may take, although Valkey had answered at once.
func TestValkeyWithoutItsReplicasIsNotReadyAtOnce(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, CallTimeout: 20 * time.Second})
	server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
	start := time.Now()
	err := u.Ready(t.Context())
	if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "NOREPLICAS") || took > 10*time.Second {
		t.Errorf("ready: got %v after %v", err, took)
	}
	server.Do("CONFIG", "SET", "min-replicas-to-write", "0")
	must(t, "ready", u.Ready(t.Context()))
}

func TestValkeyThatIsFull(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	ctx := t.Context()
	p := u.send("1")
	u.open(request(streams.OpenPoll, "c", "n1"))
	u.open(request(streams.OpenEvents, "shaken", "n1"))
	shaken := request(streams.OpenPost, "shaken", "")
	shaken.Handshake = &streams.PostedHandshake{Protocol: 1, Version: 1, Reply: message("{}"), Token: "a"}
	u.open(shaken)
	_, err := u.Join(ctx, hub, streams.JoinRequest{ID: "c", Verb: streams.VerbJoin, Groups: []string{"g"}, Entry: message("join")})
	must(t, "join", err)
	server.Do("CONFIG", "SET", "maxmemory", "1")

	_, err = u.Append(ctx, hub, message("2"))
	want(t, "append", err, streams.ErrFull)
	_, _, err = u.AppendOnce(ctx, hub, streams.OnceRequest{Key: "k", Entry: message("2"), Keep: time.Minute})
	want(t, "keyed append", err, streams.ErrFull)
	_, err = u.Open(ctx, hub, request(streams.OpenPoll, "d", "n1"))
	want(t, "a new connection", err, streams.ErrFull)

	post := request(streams.OpenPost, "c", "")
	post.Handshake = &streams.PostedHandshake{Protocol: 1, Version: 1, Reply: message("{}"), Token: "a"}
	if reply := u.open(post); reply.Outcome != streams.OpenFound || reply.Record.State != streams.StateNew {
		t.Errorf("a POST with its handshake: outcome %d, state %s; the handshake needs room", reply.Outcome, reply.Record.State)
	}
	if reply := u.open(shaken); reply.Outcome != streams.OpenHandshake {
		t.Errorf("a POST whose handshake was recorded, and the reply lost: outcome %d, state %s", reply.Outcome, reply.Record.State)
	}
	_, err = u.Handshake(ctx, hub, streams.HandshakeRequest{ID: "c", Protocol: 1, Version: 1, Reply: message("{}"), Lease: time.Minute})
	want(t, "a handshake", err, streams.ErrFull)

	poll := request(streams.OpenPoll, "c", "n2")
	poll.Mark = "2"
	reply := u.open(poll)
	_, err = u.Answer(ctx, hub, streams.AnswerRequest{ID: "c", Owner: "n2", Sent: reply.Last, Lease: time.Minute})
	must(t, "an answer to a connection that is there", err)
	if trim, err := u.Trim(ctx, hub, p); err != nil || trim.Floor != p {
		t.Errorf("trim: got %+v, %v; it is what makes room", trim, err)
	}
	end, err := u.End(ctx, hub, streams.EndRequest{ID: "c", Token: "x", Entry: message("end"), Tombstone: time.Minute})
	if err != nil || end.Outcome != streams.EndDone {
		t.Errorf("end: got %+v, %v; it makes room", end, err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	u.send("3")
}

func TestValkeyWithoutUnblockStillWakes(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	server.Do("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-client|unblock")
	for what, c := range map[string]struct {
		address string
		within  time.Duration
	}{
		"allowed":   {server.Addr, 500 * time.Millisecond},
		"forbidden": {"valkey://limited:secret@" + server.Addr, 1500 * time.Millisecond},
	} {
		t.Run(what, func(t *testing.T) {
			u := use(t, streams.ValkeyConfig{Addresses: []string{c.address}})
			tail := u.Tail(streams.Bucket(hub))
			defer tail.Close()
			start := time.Now()
			defer time.AfterFunc(50*time.Millisecond, tail.Wake).Stop()
			got, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub}}, 10, time.Minute)
			if took := time.Since(start); err != nil || got != nil || took > c.within {
				t.Errorf("the read returned %v, %v after %v, want nothing within %v", got, err, took, c.within)
			}
		})
	}
}

// Until the node ended it was taken for forbidden, although operators had followed what its log told them to do.
func TestValkeyUnblockThatIsAllowedLaterIsUsed(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	server.Do("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-client|unblock")
	u := use(t, streams.ValkeyConfig{Addresses: []string{"valkey://limited:secret@" + server.Addr}})
	u.RetryUnblock(10 * time.Millisecond)
	tail := u.Tail(streams.Bucket(hub))
	defer tail.Close()
	wakes := func(block time.Duration) bool {
		start := time.Now()
		defer time.AfterFunc(50*time.Millisecond, tail.Wake).Stop()
		_, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub}}, 10, block)
		must(t, "read", err)
		return time.Since(start) < min(block, 900*time.Millisecond)
	}
	if wakes(500 * time.Millisecond) {
		t.Fatal("the read was unblocked, which is forbidden")
	}
	server.Do("ACL", "SETUSER", "limited", "+client|unblock")
	eventually(t, "a read", func() error {
		if !wakes(time.Minute) { // a second, where it is forbidden
			return errors.New("it was not unblocked, which is allowed by now")
		}
		return nil
	})
}

func TestValkeyTailTellsALostConnectionOnce(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}})
	p := u.send("1")
	tail := u.Tail(streams.Bucket(hub))
	defer tail.Close()
	cursor := []streams.Cursor{{Hub: hub, After: p}}
	defer time.AfterFunc(50*time.Millisecond, r.cut).Stop()
	_, err := tail.Read(t.Context(), cursor, 10, time.Minute)
	want(t, "a read whose connection is cut", err, streams.ErrUnavailable)
	u.verify(streams.VerifyRequest{})
	p = u.send("2")
	got, err := tail.Read(t.Context(), cursor, 10, time.Second)
	if err != nil || len(got) != 1 || got[0].Entries[0].Position != p {
		t.Errorf("the next read returned %+v, %v, want the entry at %v", got, err, p)
	}
}

func TestValkeyAppendKnowsWhatItDoesNotKnow(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}})
	u.send("1")
	r.loseAnswer()
	_, err := u.Append(t.Context(), hub, message("2"))
	want(t, "an append whose answer is lost", err, streams.ErrOutcomeUnknown)
	r.wantLost(1)
	u.wantLog("1", "2")
	large := strings.Repeat("x", 5000)
	r.loseAnswer()
	_, err = u.Append(t.Context(), hub, message(large))
	want(t, "a large append whose answer is lost", err, streams.ErrOutcomeUnknown)
	r.wantLost(2)
	wantLog := []string{string(message("1")), string(message("2")), string(message(large))}
	if got := u.messages(); !slices.Equal(got, wantLog) {
		t.Errorf("the log holds %d messages, want %d", len(got), len(wantLog))
	}

	for _, body := range []string{"3", large} {
		r.shut(true)
		untilUnavailable(t, func() error {
			_, err := u.Append(t.Context(), hub, message(body))
			return err
		})
		r.shut(false)
	}
	u.send("4")
	if got := u.messages(); !slices.Equal(got, append(wantLog, string(message("4")))) {
		t.Errorf("the log holds %d messages, want %d", len(got), len(wantLog)+1)
	}
}

// untilUnavailable repeats a call behind a proxy without a server. The first may still use connections that were cut.
func untilUnavailable(t *testing.T, call func() error) {
	t.Helper()
	var err error
	for range 10 {
		if err = call(); errors.Is(err, streams.ErrUnavailable) {
			return
		}
		want(t, "a call on a connection that was cut", err, streams.ErrOutcomeUnknown)
	}
	want(t, "a call that a proxy without a server accepts", err, streams.ErrUnavailable)
}

// What could not be found out within the call's time is not said to have changed nothing.
func TestValkeyKeyedAppendKnowsWhatItDoesNotKnow(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	u := use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}, CallTimeout: 500 * time.Millisecond})
	u.sendOnce("1", "1") // the server knows the script
	r.loseAnswerAndDie()
	_, _, err := u.AppendOnce(t.Context(), hub, keyedAppend("k", "2"))
	want(t, "a keyed append whose answer is lost, and of which none can be asked", err, streams.ErrOutcomeUnknown)
	r.wantLost(1)
	_, _, err = u.AppendOnce(t.Context(), hub, keyedAppend("other", "3"))
	want(t, "a keyed append while nobody can be asked", err, streams.ErrUnavailable)
	r.shut(false)
	eventually(t, "the append again", func() error {
		_, replayed, err := u.AppendOnce(t.Context(), hub, keyedAppend("k", "2"))
		if err == nil && !replayed {
			t.Error("it was appended again")
		}
		return err
	})
	u.wantLog("1", "2")
}

// TestValkeyStepsMayBeRepeated loses the answer of each step. It is repeated on its
// own, returns what was lost, and has been made once.
func TestValkeyStepsMayBeRepeated(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	join := streams.JoinRequest{ID: "c", Verb: streams.VerbJoin, Groups: []string{"g", "h"}, Entry: message("join")}
	finish := streams.FinishRequest{ID: "c", Owner: "n1", Count: 2, Entries: [][]byte{message("r1"), message("r2")}}
	mark := func(r streams.OpenRequest, mark string) streams.OpenRequest {
		r.Mark = mark
		return r
	}
	for _, c := range []struct {
		name string
		// before makes the state that step begins with; step returns what is compared
		// with what the step returns when nothing is lost.
		before func(u user)
		step   func(u user) (any, error)
		log    string
	}{
		{"AppendOnce", func(user) {}, func(u user) (any, error) {
			_, _, err := u.AppendOnce(t.Context(), hub, streams.OnceRequest{Key: "k", Entry: message("1"), Keep: time.Minute})
			return nil, err
		}, "1"},
		{"Verify", func(user) {}, func(u user) (any, error) {
			r, err := u.Verify(t.Context(), hub, streams.VerifyRequest{})
			return r.Proven, err
		}, ""},
		{"Trim", func(u user) { u.send("1"); u.send("2") }, func(u user) (any, error) {
			r, err := u.Trim(t.Context(), hub, streams.NewPosition(1<<50, 0))
			return r.Entries, err
		}, ""},
		{"Open, create", func(user) {}, func(u user) (any, error) {
			r, err := u.Open(t.Context(), hub, request(streams.OpenWebSocket, "c", "n1"))
			return [...]any{r.Record.Owner, r.Record.State}, err
		}, ""},
		{"Open, first poll", func(user) {}, func(u user) (any, error) {
			r, err := u.Open(t.Context(), hub, request(streams.OpenPoll, "c", "n1"))
			return [...]any{r.Outcome, r.Record.Owner, r.Record.Answers}, err
		}, ""},
		{"Open, poll", func(u user) {
			u.open(mark(request(streams.OpenPoll, "c", "n1"), "1"))
			u.open(mark(request(streams.OpenPoll, "c", "n2"), "2"))
		}, func(u user) (any, error) {
			r, err := u.Open(t.Context(), hub, mark(request(streams.OpenPoll, "c", "n3"), "3"))
			return [...]any{r.Outcome, r.Record.Owner}, err
		}, "moved"},
		{"Open, ticket", func(u user) { u.stateful("c", "n1") }, func(u user) (any, error) {
			r, err := u.Open(t.Context(), hub, request(streams.OpenWebSocket, "c", "n2"))
			return [...]any{r.Outcome, r.Record.Owner}, err
		}, ""},
		{"Open, reattach", func(u user) {
			u.stateful("c", "n1")
			u.open(request(streams.OpenWebSocket, "c", "n2"))
		}, func(u user) (any, error) {
			r := request(streams.OpenReattach, "c", "n2")
			r.Ticket = 1
			reply, err := u.Open(t.Context(), hub, r)
			return [...]any{reply.Outcome, reply.Record.Owner, reply.Record.Ticket}, err
		}, "moved"},
		{"Handshake", func(u user) { u.open(request(streams.OpenPost, "c", "")) }, func(u user) (any, error) {
			r, err := u.Handshake(t.Context(), hub, streams.HandshakeRequest{ID: "c", Version: 1, Reply: message("hello"), Lease: time.Minute})
			return r.Start.IsZero(), err
		}, "hello"},
		{"Answer", func(u user) {
			u.open(mark(request(streams.OpenPoll, "c", "n1"), "1"))
			u.open(mark(request(streams.OpenPoll, "c", "n2"), "2"))
		}, func(u user) (any, error) {
			return u.Answer(t.Context(), hub, streams.AnswerRequest{ID: "c", Owner: "n2", Lease: time.Minute})
		}, ""},
		{"Wrote", func(u user) { u.open(request(streams.OpenPoll, "c", "n1")) }, func(u user) (any, error) {
			return nil, u.Wrote(t.Context(), hub, "c", 1, true)
		}, ""},
		{"Touch", func(u user) { u.stateful("c", "n1") }, func(u user) (any, error) {
			refused, err := u.Touch(t.Context(), hub, []streams.TouchItem{{ID: "c", Owner: "n1", Lease: time.Minute}, {ID: "d"}})
			return fmt.Sprint(refused), err
		}, ""},
		{"Finish", func(u user) { u.stateful("c", "n1") }, func(u user) (any, error) {
			p, err := u.Finish(t.Context(), hub, finish)
			return p.IsZero(), err
		}, "r1 r2"},
		{"Join", func(u user) { u.stateful("c", "n1") }, func(u user) (any, error) {
			r, err := u.Join(t.Context(), hub, join)
			return r.Position.IsZero(), err
		}, "join"},
		{"CloseConnection", func(u user) { u.stateful("c", "n1") }, func(u user) (any, error) {
			p, err := u.CloseConnection(t.Context(), hub, "c", message("close"))
			return p.IsZero(), err
		}, "close"},
		{"End", func(u user) {
			u.stateful("c", "n1")
			_, err := u.Join(t.Context(), hub, join)
			must(u.t, "join", err)
		}, func(u user) (any, error) {
			r, err := u.End(t.Context(), hub, streams.EndRequest{ID: "c", Owner: "n1", Token: "t", Entry: message("end"), Tombstone: time.Minute})
			return [...]any{r.Outcome, r.Position.IsZero(), r.Record.Owner, r.Record.State}, err
		}, "join end"},
		{"Beat", func(user) {}, func(u user) (any, error) {
			r, err := u.Beat(t.Context(), 1, "n1", time.Minute)
			return r.Nodes, err
		}, ""},
		{"Secret", func(user) {}, func(u user) (any, error) {
			secret, err := u.Secret(t.Context(), []byte("s"))
			return string(secret), err
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRelay(t, server.Addr)
			cfg := streams.ValkeyConfig{Addresses: []string{r.addr()}}
			// Once with every answer, which also makes the server know the scripts.
			u := use(t, cfg)
			c.before(u)
			wanted, err := c.step(u)
			must(t, c.name, err)

			u = use(t, cfg)
			c.before(u)
			u.verify(streams.VerifyRequest{})
			r.loseAnswer()
			got, err := c.step(u)
			must(t, c.name+", its answer lost", err)
			r.wantLost(1)
			if got != wanted {
				t.Errorf("got %v when its answer was lost, %v when not", got, wanted)
			}
			u.wantLog(strings.Fields(c.log)...)
		})
	}
}

func TestValkeyWithSentinelsFollowsThePrimary(t *testing.T) {
	group := valkeytest.StartSentinel(t, 3)
	u := use(t, streams.ValkeyConfig{Addresses: group.Sentinels, Mode: streams.ValkeySentinel, MasterSet: group.Name})
	must(t, "ready", u.Ready(t.Context()))
	p := u.send("1")
	before := u.verify(streams.VerifyRequest{})
	time.Sleep(100 * time.Millisecond) // replication
	group.Primary.Kill()
	group.WaitPromoted(t)
	var after streams.VerifyReply
	eventually(t, "a verify after the failover", func() (err error) {
		after, err = u.Verify(t.Context(), hub, streams.VerifyRequest{Last: p, Proof: p, ProofEntry: string(message("1"))})
		return err
	})
	if !after.Proven || after.Run == before.Run {
		t.Errorf("verified %+v, want the log proven in another process than %q", after, before.Run)
	}
	u.send("2")
	u.wantLog("1", "2")
	tail := u.Tail(streams.Bucket(hub))
	defer tail.Close()
	got, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub}}, 10, time.Second)
	if err != nil || len(got) != 1 {
		t.Errorf("the tail read %+v, %v", got, err)
	}
}

func TestValkeyWaitsForReplicas(t *testing.T) {
	primary := valkeytest.Start(t, valkeytest.Args("--repl-diskless-sync-delay", "0"))
	config := streams.ValkeyConfig{Addresses: []string{primary.Addr}, Prefix: "durable", Durable: 1, DurableTimeout: 200 * time.Millisecond}
	u := use(t, config)
	_, err := u.Append(t.Context(), hub, message("1"))
	want(t, "an append without a replica", err, streams.ErrOutcomeUnknown)
	once := streams.OnceRequest{Key: "k", Sum: "s", Entry: message("once"), Keep: time.Minute}
	for range 2 { // the entry is there, but a repetition promises no more
		_, _, err = u.AppendOnce(t.Context(), hub, once)
		want(t, "an append with a key without a replica", err, streams.ErrOutcomeUnknown)
		_, err = u.AppendAll(t.Context(), hub, []streams.OnceRequest{once})
		want(t, "a batch with a key without a replica", err, streams.ErrOutcomeUnknown)
	}
	replica := valkeytest.Start(t, valkeytest.ReplicaOf(primary))
	valkeytest.WaitReplica(t, replica)
	eventually(t, "an append with a replica", func() error {
		_, err := u.Append(t.Context(), hub, message("2"))
		return err
	})
	eventually(t, "an append with a key and a replica", func() error {
		_, replayed, err := u.AppendOnce(t.Context(), hub, once)
		if err == nil && !replayed {
			t.Error("a repetition was appended")
		}
		return err
	})
	// What another connection has written is not there yet, either: a repetition must not be told that it is.
	replica.Pause()
	once.Key = "k2"
	_, _, err = u.AppendOnce(t.Context(), hub, once)
	want(t, "an append with a key and a replica that stands still", err, streams.ErrOutcomeUnknown)
	other := use(t, config)
	_, _, err = other.AppendOnce(t.Context(), hub, once)
	want(t, "a repetition with a replica that stands still", err, streams.ErrOutcomeUnknown)
	_, err = use(t, config).AppendAll(t.Context(), hub, []streams.OnceRequest{once})
	want(t, "a repetition in a batch with a replica that stands still", err, streams.ErrOutcomeUnknown)
	replica.Resume()
	eventually(t, "the repetition", func() error {
		_, replayed, err := other.AppendOnce(t.Context(), hub, once)
		if err == nil && !replayed {
			t.Error("a repetition was appended")
		}
		return err
	})
}

// A batch that is waited for brings its script along: whoever may not load scripts could else append none, and in a cluster a script is
// loaded into any of the servers.
func TestValkeyDurableBatchNeedsNoLoading(t *testing.T) {
	primary := valkeytest.Start(t, valkeytest.Args("--repl-diskless-sync-delay", "0"))
	valkeytest.WaitReplica(t, valkeytest.Start(t, valkeytest.ReplicaOf(primary)))
	primary.Do("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-script")
	u := use(t, streams.ValkeyConfig{
		Addresses: []string{primary.Addr}, Username: "limited", Password: "secret", Durable: 1, DurableTimeout: time.Second,
	})
	results, err := u.AppendAll(t.Context(), hub, []streams.OnceRequest{{Entry: message("1")}})
	must(t, "a batch", err)
	if results[0].Position.IsZero() {
		t.Error("its entry has no position")
	}
}

func TestValkeyLeavesNothingRunning(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	ignore := goleak.IgnoreCurrent()
	v := openValkey(t, streams.ValkeyConfig{Addresses: []string{server.Addr}})
	_, err := v.Append(t.Context(), hub, message("1"))
	must(t, "append", err)
	tails := []streams.Tail{v.Tail(streams.Bucket(hub)), v.Tail(streams.Bucket(hub))}
	_, err = tails[0].Read(t.Context(), []streams.Cursor{{Hub: hub}}, 1, time.Second)
	must(t, "read", err)
	blocked := make(chan error)
	go func() {
		_, err := tails[1].Read(t.Context(), []streams.Cursor{{Hub: hub, After: streams.NewPosition(1<<50, 0)}}, 1, time.Minute)
		blocked <- err
	}()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	must(t, "close", v.Close())
	must(t, "close again", v.Close())
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("closing took %v", took)
	}
	want(t, "a blocked read", <-blocked, streams.ErrUnavailable)
	_, err = v.Append(t.Context(), hub, message("2"))
	want(t, "an append after the close", err, streams.ErrUnavailable)
	goleak.VerifyNone(t, ignore)
}

func TestValkeySettingsThatCannotWork(t *testing.T) {
	for what, cfg := range map[string]streams.ValkeyConfig{
		"no address":                   {},
		"no port":                      {Addresses: []string{"localhost"}},
		"two servers without a mode":   {Addresses: []string{"a:1", "b:1"}},
		"an unknown mode":              {Addresses: []string{"a:1"}, Mode: "ring"},
		"an unknown scheme":            {Addresses: []string{"http://a:1"}},
		"no host":                      {Addresses: []string{"valkey://:6379"}},
		"a database that is no number": {Addresses: []string{"valkey://a:1/x"}},
		"a database of a cluster":      {Addresses: []string{"valkey://a:1/2"}, Mode: streams.ValkeyCluster},
		"sentinels without a set":      {Addresses: []string{"a:1"}, Mode: streams.ValkeySentinel},
		"a prefix with braces":         {Addresses: []string{"a:1"}, Prefix: "{x}"},
		"a broken URL with a password": {Addresses: []string{"valkey://u:hunter2@a:b:c"}},
		"a password without a URL":     {Addresses: []string{"hunter2@a:1"}},
		"a user without a URL":         {Addresses: []string{"u:hunter2@a:1"}},
		"a password with a slash":      {Addresses: []string{"valkey://u:1/hunter2@a:1"}},
		"a password with a number":     {Addresses: []string{"valkey://:1#hunter2@a:1"}},
		"a password with a question":   {Addresses: []string{"valkey://u:1?hunter2@a:1"}},
		"a password with an at":        {Addresses: []string{"valkey://u:x@y/hunter2@a:1"}},
		"a password in a query":        {Addresses: []string{"valkey://a:1?password=hunter2"}},
		"a database in a query":        {Addresses: []string{"valkey://a:1?db=1"}},
		"a port that there is not":     {Addresses: []string{"a:65536"}},
		"the same in a URL":            {Addresses: []string{"valkey://a:65536"}},
		"a port that is none":          {Addresses: []string{"a:"}},
		"a port without a host":        {Addresses: []string{":6379"}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		v, err := streams.NewValkey(ctx, cfg)
		cancel()
		if err == nil {
			v.Close()
			t.Errorf("%s: no error", what)
			continue
		}
		if errors.Is(err, streams.ErrUnavailable) {
			t.Errorf("%s: got %v, which sounds as if trying again could help", what, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password", what)
		}
	}
}

func TestValkeyThatIsNotThereIsWaitedFor(t *testing.T) {
	server := valkeytest.Start(t, valkeytest.Args())
	r := startRelay(t, server.Addr)
	r.shut(true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := streams.NewValkey(ctx, streams.ValkeyConfig{Addresses: []string{r.addr()}})
	want(t, "connecting to nobody", err, streams.ErrUnavailable)
	defer time.AfterFunc(300*time.Millisecond, func() { r.shut(false) }).Stop()
	use(t, streams.ValkeyConfig{Addresses: []string{r.addr()}}).send("1")
}
