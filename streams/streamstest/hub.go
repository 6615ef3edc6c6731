package streamstest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"hubstream/streams"
)

// Leases of the tests.
const (
	long  = time.Minute           // does not pass during a test
	short = 20 * time.Millisecond // passes soon
)

// patience limits every wait for what must happen.
const patience = 10 * time.Second

// hub is a hub that a test talks to. What fails, fails the test.
type hub struct {
	*testing.T
	store streams.Store
	name  string
	ctx   context.Context
	// groups is how many groups each polling connection joins: a store may keep a small record in another way than a large one.
	groups int
}

func newHub(t *testing.T, store streams.Store) *hub {
	return &hub{T: t, store: store, name: hubName(), ctx: t.Context()}
}

func hubName() string { return fmt.Sprintf("hub-%016x", rand.Uint64()) }

// sibling returns another hub of the same bucket.
func (h *hub) sibling() *hub {
	for {
		name := hubName()
		if streams.Bucket(name) == streams.Bucket(h.name) {
			s := *h
			s.name = name
			return &s
		}
	}
}

// must fails the test at once if a call that has to succeed did not.
func (h *hub) must(what string, err error) {
	h.Helper()
	if err != nil {
		h.Fatalf("%s: %v", what, err)
	}
}

// want fails the test unless a call was refused with the error.
func (h *hub) want(what string, err, want error) {
	h.Helper()
	if !errors.Is(err, want) {
		h.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// equal compares.
func equal[T comparable](h *hub, what string, got, want T) {
	h.Helper()
	if got != want {
		h.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// check fails the test, in words, unless ok.
func (h *hub) check(ok bool, format string, args ...any) {
	h.Helper()
	if !ok {
		h.Errorf(format, args...)
	}
}

// eventually repeats an attempt until it succeeds.
func (h *hub) eventually(what string, attempt func() bool) {
	h.Helper()
	for deadline := time.Now().Add(patience); !attempt(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// The log.

func (h *hub) append(entry []byte) streams.Position {
	h.Helper()
	p, err := h.store.Append(h.ctx, h.name, entry)
	h.must("append", err)
	return p
}

// send appends a message to all.
func (h *hub) send(body string) streams.Position {
	h.Helper()
	return h.append(message(body))
}

// sendApart appends messages such that there are positions between them that are
// those of no entry.
func (h *hub) sendApart(bodies ...string) []streams.Position {
	h.Helper()
	var list []streams.Position
	for _, body := range bodies {
		if len(list) > 0 {
			time.Sleep(3 * time.Millisecond)
		}
		list = append(list, h.send(body))
	}
	return list
}

// hole is a position right after p, at which there is no entry if the next one was
// sent apart.
func hole(p streams.Position) streams.Position {
	ms, _, _ := strings.Cut(p.String(), "-")
	h, err := streams.ParsePosition(ms + "-999999")
	if err != nil {
		panic(err)
	}
	return h
}

// ahead is a position an hour after p.
func ahead(p streams.Position) streams.Position {
	var ms, seq uint64
	if _, err := fmt.Sscanf(p.String(), "%d-%d", &ms, &seq); err != nil {
		panic(err)
	}
	return streams.NewPosition(ms+3_600_000, 7)
}

func (h *hub) slice(after streams.Position, limit int) streams.RangeReply {
	h.Helper()
	r, err := h.store.Range(h.ctx, h.name, after, limit)
	h.must("range", err)
	return r
}

// log returns all that the log holds.
func (h *hub) log() []streams.RawEntry {
	h.Helper()
	return h.slice(streams.Position{}, 1<<20).Entries
}

// last is the log's last position.
func (h *hub) last() streams.Position {
	h.Helper()
	return h.slice(streams.Position{}, 1).Last
}

func (h *hub) trim(upTo streams.Position) streams.TrimReply {
	h.Helper()
	r, err := h.store.Trim(h.ctx, h.name, upTo)
	h.must("trim", err)
	return r
}

func (h *hub) verify(r streams.VerifyRequest) streams.VerifyReply {
	h.Helper()
	v, err := h.store.Verify(h.ctx, h.name, r)
	h.must("verify", err)
	return v
}

// at fails the test unless the entry is in the log at p.
func (h *hub) at(what string, p streams.Position, entry []byte) {
	h.Helper()
	for _, e := range h.log() {
		if e.Position == p {
			h.check(e.Data == string(entry), "%s: entry at %v is %q, want %q", what, p, e.Data, entry)
			return
		}
	}
	h.Errorf("%s: no entry at %v", what, p)
}

// appends runs an action and fails the test unless it appended exactly these entries.
func (h *hub) appends(what string, want [][]byte, action func()) {
	h.Helper()
	before := h.last()
	action()
	got := h.slice(before, 1<<20).Entries
	if len(got) != len(want) {
		h.Errorf("%s: appended %d entries, want %d", what, len(got), len(want))
		return
	}
	for i, e := range got {
		h.check(e.Data == string(want[i]), "%s: appended %q, want %q", what, e.Data, want[i])
	}
}

// The records.

// request is an Open with long leases, as most tests need it.
func request(mode streams.OpenMode, id, owner string) streams.OpenRequest {
	return streams.OpenRequest{
		Mode:        mode,
		ID:          id,
		User:        "ann",
		Owner:       owner,
		CreateUntil: time.Now().Add(time.Hour).UnixMilli(),
		Lease:       long,
		NewLease:    long,
		Moved:       moved(id, owner),
	}
}

func (h *hub) open(r streams.OpenRequest) streams.OpenReply {
	h.Helper()
	reply, err := h.store.Open(h.ctx, h.name, r)
	h.must(fmt.Sprintf("open %s by %q", modeName(r.Mode), r.Owner), err)
	return reply
}

// opens fails the test unless Open has the outcome.
func (h *hub) opens(r streams.OpenRequest, want streams.OpenOutcome) streams.OpenReply {
	h.Helper()
	reply := h.open(r)
	if reply.Outcome != want {
		h.Fatalf("open %s by %q: got outcome %s, want %s", modeName(r.Mode), r.Owner, outcomeName(reply.Outcome), outcomeName(want))
	}
	return reply
}

// refuses fails the test unless Open is refused with the error and changes nothing.
func (h *hub) refuses(r streams.OpenRequest, want error) {
	h.Helper()
	h.unchanged(r.ID, func() {
		h.Helper()
		_, err := h.store.Open(h.ctx, h.name, r)
		h.want(fmt.Sprintf("open %s by %q", modeName(r.Mode), r.Owner), err, want)
	})
}

func (h *hub) lookup(id string) streams.OpenReply {
	h.Helper()
	reply, err := h.store.Lookup(h.ctx, h.name, id)
	h.must("look up "+id, err)
	return reply
}

func (h *hub) record(id string) streams.Record {
	h.Helper()
	return h.lookup(id).Record
}

// gone fails the test unless the connection is not there.
func (h *hub) gone(id string) {
	h.Helper()
	_, err := h.store.Lookup(h.ctx, h.name, id)
	h.want("look up "+id, err, streams.ErrGone)
}

// unchanged fails the test if an action changes the record or appends anything.
func (h *hub) unchanged(id string, action func()) {
	h.Helper()
	before, beforeErr := h.store.Lookup(h.ctx, h.name, id)
	last := h.last()
	action()
	after, afterErr := h.store.Lookup(h.ctx, h.name, id)
	if (beforeErr == nil) != (afterErr == nil) {
		h.Errorf("look up %s: got error %v, before %v", id, afterErr, beforeErr)
	}
	if len(before.Record.Groups) == 0 && len(after.Record.Groups) == 0 {
		before.Record.Groups, after.Record.Groups = nil, nil
	}
	if !reflect.DeepEqual(before.Record, after.Record) {
		h.Errorf("the record changed:\n got %+v\nwant %+v", after.Record, before.Record)
	}
	equal(h, "the log's last position", h.last(), last)
}

// handshake completes a connection's handshake without an answer in the log.
func (h *hub) handshake(id, owner string, version uint8) streams.Position {
	h.Helper()
	r, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{
		ID: id, Owner: owner, Protocol: 1, Version: version, Lease: long,
	})
	h.must("handshake", err)
	return r.Start
}

// handshakePosted completes a connection's handshake with an answer in the log.
func (h *hub) handshakePosted(id string) streams.Position {
	h.Helper()
	r, err := h.store.Handshake(h.ctx, h.name, streams.HandshakeRequest{
		ID: id, Protocol: 1, Version: 1, Reply: reply(id, "{}"), Lease: long,
	})
	h.must("posted handshake", err)
	return r.Start
}

// webSocket is a connection over WebSockets in state open.
func (h *hub) webSocket(id, owner string) {
	h.Helper()
	h.opens(request(streams.OpenWebSocket, id, owner), streams.OpenCreated)
	h.handshake(id, owner, 1)
}

// stateful is a stateful connection over WebSockets in state open, whose client was heard.
func (h *hub) stateful(id, owner string) {
	h.Helper()
	h.opens(request(streams.OpenWebSocket, id, owner), streams.OpenCreated)
	h.handshake(id, owner, 2)
	h.touches(streams.TouchItem{ID: id, Owner: owner, Lease: long, Heard: true})
}

// touches fails the test unless the touch is taken.
func (h *hub) touches(item streams.TouchItem) {
	h.Helper()
	refused, err := h.store.Touch(h.ctx, h.name, []streams.TouchItem{item})
	h.must("touch "+item.ID, err)
	h.check(len(refused) == 0, "the touch was refused")
}

// events is a connection over an event stream in state open.
func (h *hub) events(id, owner string) {
	h.Helper()
	h.opens(request(streams.OpenEvents, id, owner), streams.OpenCreated)
	h.handshakePosted(id)
}

// polling is a long polling connection in state open whose first poll, with mark
// "first", was answered and written.
func (h *hub) polling(id string) {
	h.Helper()
	h.opens(poll(id, "", "first"), streams.OpenFirstPoll)
	h.wrote(id, 1, true)
	h.handshakePosted(id)
	for i := range h.groups {
		h.join(id, fmt.Sprint("group", i))
	}
}

func poll(id, owner, mark string) streams.OpenRequest {
	r := request(streams.OpenPoll, id, owner)
	r.Mark = mark
	return r
}

// closing moves a connection to state closing.
func (h *hub) closing(id string) streams.Position {
	h.Helper()
	p, err := h.store.CloseConnection(h.ctx, h.name, id, closed(id, "bye"))
	h.must("close "+id, err)
	return p
}

func (h *hub) wrote(id string, n uint64, ok bool) {
	h.Helper()
	h.must("wrote", h.store.Wrote(h.ctx, h.name, id, n, ok))
}

func (h *hub) end(r streams.EndRequest) streams.EndReply {
	h.Helper()
	if r.Entry == nil {
		r.Entry = ended(r.ID)
	}
	if r.Tombstone == 0 {
		r.Tombstone = long
	}
	reply, err := h.store.End(h.ctx, h.name, r)
	h.must("end "+r.ID, err)
	return reply
}

// ends fails the test unless End has the outcome.
func (h *hub) ends(r streams.EndRequest, want streams.EndOutcome) streams.EndReply {
	h.Helper()
	reply := h.end(r)
	equal(h, "outcome of end", reply.Outcome, want)
	return reply
}

func (h *hub) expired() []string {
	h.Helper()
	ids, err := h.store.Expired(h.ctx, h.name, 1000)
	h.must("expired", err)
	return ids
}

// waitExpired waits until a connection's lease has passed.
func (h *hub) waitExpired(id string) {
	h.Helper()
	h.eventually("the lease of "+id+" passes", func() bool { return h.isExpired(id) })
}

func (h *hub) isExpired(id string) bool {
	h.Helper()
	for _, other := range h.expired() {
		if other == id {
			return true
		}
	}
	return false
}

// Entries.

func message(body string) []byte {
	return encode(streams.Entry{Kind: streams.KindMessage, Flags: streams.FlagAll, Body: []byte(body)})
}

func reply(id, body string) []byte {
	return encode(streams.Entry{Kind: streams.KindReply, Connections: []string{id}, Body: []byte(body)})
}

func moved(id, owner string) []byte {
	return encode(streams.Entry{Kind: streams.KindMoved, Connections: []string{id}, Owner: owner})
}

func closed(id, reason string) []byte {
	return encode(streams.Entry{Kind: streams.KindClose, Connections: []string{id}, Body: []byte(reason)})
}

func ended(id string) []byte {
	return encode(streams.Entry{Kind: streams.KindClose, Flags: streams.FlagEnded, Connections: []string{id}})
}

func control(id string, verb streams.Verb, groups ...string) []byte {
	return encode(streams.Entry{Kind: streams.KindControl, Verb: verb, Connections: []string{id}, Named: groups})
}

func encode(e streams.Entry) []byte { return streams.AppendEntry(nil, &e) }

func modeName(m streams.OpenMode) string {
	return [...]string{"?", "WebSocket", "Events", "Poll", "Post", "Reattach"}[m]
}

func outcomeName(o streams.OpenOutcome) string {
	return [...]string{"none", "created", "attached", "ticket", "first poll", "undecided", "found", "abandoned", "handshake", "repeated"}[o]
}
