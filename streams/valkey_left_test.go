package streams_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// recordOf is the key of a connection's record; see the prefix of the tests.
func recordOf(id string) string {
	return fmt.Sprintf("{left:%d}:%s:c:%s", streams.Bucket(hub), hub, id)
}

// keysOf lists the keys with a name in theirs.
func keysOf(server *valkeytest.Server, name string) string {
	return server.Do("EVAL", "return table.concat(redis.call('KEYS', ARGV[1]), ' ')", "0", "*"+name+"*")
}

// TestValkeyKeepsATombstoneOfTheEnded: what else is kept of a connection that has ended is never asked for again, and would
// stay for ever.
func TestValkeyKeepsATombstoneOfTheEnded(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "left"})
	work := streams.Worker{Token: "w", Lease: time.Minute}
	for _, events := range []bool{false, true} {
		id := fmt.Sprintf("theone%v", events)
		r := request(streams.OpenPost, id, "")
		r.User = "userof" + id
		u.open(r)
		_, err := u.Handshake(t.Context(), hub, streams.HandshakeRequest{
			ID: id, Version: 1, Reply: message("hello"), Lease: time.Minute, Connected: events, Context: "context", Worker: work,
		})
		must(t, "handshake", err)
		_, err = u.Join(t.Context(), hub, streams.JoinRequest{ID: id, Verb: streams.VerbJoin, Groups: []string{"groupof" + id}, Entry: message("join")})
		must(t, "join", err)
		_, err = u.Accept(t.Context(), hub, streams.AcceptRequest{ID: id, Token: "t" + fmt.Sprint(events), Items: []string{"1", "2"}, Limit: 9, Worker: work})
		must(t, "accept", err)
		_, err = u.End(t.Context(), hub, streams.EndRequest{ID: id, Token: "t", Entry: message("end"), Tombstone: time.Minute, Worker: work})
		must(t, "end", err)
		for number := uint64(0); ; { // what is left to do is the events' and what was accepted before
			next, err := u.NextWork(t.Context(), hub, streams.NextRequest{ID: id, Worker: work.Token, Number: number})
			if !events {
				want(t, "work of a connection without events", err, streams.ErrOwner)
				break
			}
			must(t, "next", err)
			if number = next.Number; number == 0 {
				break
			}
		}
		record := recordOf(id)
		if keys := keysOf(server, id); keys != record {
			t.Errorf("with events %v: there is %q of the connection, want its tombstone alone", events, keys)
		}
		if ttl := left(server, record); ttl <= 0 || ttl > time.Minute {
			t.Errorf("the tombstone is kept for %v, want a minute at most", ttl)
		}
		if fields := server.Do("EVAL", "return table.concat(redis.call('HKEYS', KEYS[1]), ' ')", "1", record); strings.Contains(fields, "groupof") {
			t.Errorf("the tombstone has the groups: %s", fields)
		}
	}
}

// TestValkeyForgetsTheLeaseOfALostRecord: it would be swept again and again, and before others, as it has passed for longer.
func TestValkeyForgetsTheLeaseOfALostRecord(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "left"})
	r := request(streams.OpenWebSocket, "lost", "n1")
	r.NewLease = time.Millisecond
	u.open(r)
	expired := func() []string {
		t.Helper()
		ids, err := u.Expired(t.Context(), hub, 10)
		must(t, "expired", err)
		return ids
	}
	eventually(t, "the lease passes", func() error {
		if ids := expired(); len(ids) != 1 {
			return fmt.Errorf("expired: %v", ids)
		}
		return nil
	})
	server.Do("DEL", recordOf("lost"))
	reply, err := u.End(t.Context(), hub, streams.EndRequest{ID: "lost", OnlyExpired: true, Entry: message("end"), Tombstone: time.Minute})
	must(t, "end", err)
	if reply.Outcome != streams.EndAlready {
		t.Errorf("outcome %v, want already", reply.Outcome)
	}
	if ids := expired(); len(ids) != 0 {
		t.Errorf("expired, after the end: %v", ids)
	}
}

// TestValkeyTombstoneOfTheAbandonedIsRenewed: a client that abandons its sockets may open another for as long as it lives, and
// must not create its connection anew.
func TestValkeyTombstoneOfTheAbandonedIsRenewed(t *testing.T) {
	t.Parallel()
	server := valkeytest.Start(t, valkeytest.Args())
	u := use(t, streams.ValkeyConfig{Addresses: []string{server.Addr}, Prefix: "left"})
	u.stateful("c", "n1")
	ticket := u.open(request(streams.OpenWebSocket, "c", "n2")).Record.Tickets
	must(t, "abandon", u.Abandon(t.Context(), hub, "c", ticket))
	_, err := u.End(t.Context(), hub, streams.EndRequest{ID: "c", Entry: message("end"), Tombstone: time.Minute})
	must(t, "end", err)
	server.Do("PEXPIRE", recordOf("c"), "60000")
	if r := u.open(request(streams.OpenWebSocket, "c", "n3")); r.Outcome != streams.OpenAbandoned {
		t.Errorf("outcome %v, want abandoned", r.Outcome)
	}
	if ttl := left(server, recordOf("c")); ttl < 23*time.Hour {
		t.Errorf("the tombstone is kept for %v more, want a day", ttl)
	}
}
