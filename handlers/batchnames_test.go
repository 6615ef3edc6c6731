package handlers_test

import (
	"net/http"
	"testing"

	"hubstream/handlers"
	"hubstream/negotiate"
	"hubstream/streams"
)

// Clients of negotiate version 0 know their token as their connection ID, and a batch takes it as other requests do.
func TestABatchTakesTokensForConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	id := negotiate.NewConnectionID()
	f.connect(id, streams.OpenWebSocket, 1)
	got := f.batch(`{"op":"join","connection":"` + f.connectionToken(id, "chat") + `","group":"room"}`)
	if got[0].Status/100 != 2 {
		t.Errorf("got %+v", got[0])
	}
	reply, err := f.store.Lookup(t.Context(), "chat", id)
	if groups := reply.Record.OpenGroups(); err != nil || len(groups) != 1 || groups[0] != "room" {
		t.Errorf("groups %q %v", groups, err)
	}
}

// What an operation of a batch may say of itself a send may not, though it is made with what the batch was made with.
func TestASendIsNoOperationOfABatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	operation := `{"op":"send","target":"m","arguments":[]}`
	for range 20 {
		f.batch(operation)
		if r := refused(t, f.send(operation), http.StatusBadRequest); r.Target != "op" {
			t.Errorf("got %+v", r)
		}
	}
}
