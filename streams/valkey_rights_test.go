package streams_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"hubstream/integration/valkeytest"
	"hubstream/streams"
)

// documented returns, of what docs/operations.md names as a user's rights, what begins with one of them, for the prefixes of the tests.
func documented(t *testing.T, first string) []string {
	t.Helper()
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`(" + regexp.QuoteMeta(first) + "[^`]*)`").FindSubmatch(page)
	if found == nil {
		t.Fatalf("docs/operations.md does not name %s", first)
	}
	return strings.Fields(strings.ReplaceAll(string(found[1]), "hs:", "t*:"))
}

// limit gives servers a user with no more than these rights, and returns the address as that user has it.
func limit(t *testing.T, servers []string, rights ...string) []string {
	t.Helper()
	var addresses []string
	for _, server := range servers {
		if _, err := valkeytest.Ask(server, append([]string{"ACL", "SETUSER", "limited", "reset", "on", ">secret"}, rights...)...); err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, "valkey://limited:secret@"+server)
	}
	return addresses
}

func TestValkeySentinelsWithTheLeastRights(t *testing.T) {
	group := valkeytest.StartSentinel(t, 1)
	limit(t, []string{group.Primary.Addr, group.Replica.Addr}, append(documented(t, "~hs:*"), documented(t, "+role")...)...)
	u := use(t, streams.ValkeyConfig{
		Addresses: limit(t, group.Sentinels, documented(t, "+sentinel")...), Mode: streams.ValkeySentinel, MasterSet: group.Name,
	})
	p := u.send("1")
	if err := u.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	tail := u.Tail(streams.Bucket(hub))
	defer tail.Close()
	got, err := tail.Read(t.Context(), []streams.Cursor{{Hub: hub}}, 10, time.Second)
	if err != nil || len(got) != 1 || got[0].Entries[len(got[0].Entries)-1].Position != p {
		t.Errorf("the tail: got %+v, %v, want the entry at %v", got, err, p)
	}
}

// Where only the servers have a user and a password there is one URL for both nevertheless.
func TestValkeySentinelsWithoutAPassword(t *testing.T) {
	group := valkeytest.StartSentinel(t, 1)
	limit(t, []string{group.Primary.Addr, group.Replica.Addr}, append(documented(t, "~hs:*"), documented(t, "+role")...)...)
	config := streams.ValkeyConfig{
		Addresses: []string{"valkey://limited:secret@" + group.Sentinels[0]}, Mode: streams.ValkeySentinel, MasterSet: group.Name,
	}
	use(t, config).send("1")

	config.Addresses[0] = "valkey://limited:wrong@" + group.Sentinels[0]
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if v, err := streams.NewValkey(ctx, config); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		if v != nil {
			v.Close()
		}
		t.Errorf("a wrong password: got %v", err)
	}
}
