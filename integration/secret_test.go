package integration_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/rawclient"
	"hubstream/integration/valkeytest"
)

// A Valkey that comes back empty has lost the secret that connection tokens are sealed with. The nodes agree again, whichever is the
// first to propose one: else what one has negotiated would be refused by the other for as long as both live.
func TestNodesAgreeOnTheSecretAgainWhenValkeyHasLostIt(t *testing.T) {
	t.Parallel()
	const key = "hs:secret"
	server := valkeytest.Start(t)
	a := nodes.Start(t, nodes.Options{Name: "n1", Valkey: server.Addr})
	atA := rawclient.Hub(t, a.URL+"/hubs/"+newHub(t))
	old := atA.Connect().Token()
	if answer := atA.Poll(old); answer.Status != http.StatusOK {
		t.Fatalf("first poll: %d %s", answer.Status, answer.Body)
	}
	agreed := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(rawclient.Patience); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}

	secret := server.Do("GET", key)
	server.Do("DEL", key)
	agreed("the node does not propose the secret that it has", func() bool { return server.Do("GET", key) == secret })

	server.Do("SET", key, strings.Repeat("s", 32)) // as a node that has just started would, if it came first
	b := nodes.Start(t, nodes.Options{Name: "n2", Valkey: server.Addr})
	atB := atA.At(b.URL)
	opens := func(from, at *rawclient.HubClient) bool {
		return at.Poll(from.Connect().Token()).Status == http.StatusOK
	}
	agreed("what the earlier node has negotiated is unknown to the later one", func() bool { return opens(atA, atB) })
	agreed("what the later node has negotiated is unknown to the earlier one", func() bool { return opens(atB, atA) })
	if answer := atA.Post(old, `{"protocol":"json","version":1}`+"\x1e"); answer.Status != http.StatusOK {
		t.Errorf("a connection of before: %d %s", answer.Status, answer.Body)
	}
}
