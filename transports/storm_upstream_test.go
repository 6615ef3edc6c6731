package transports_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hubstream/internal/upstream"
	"hubstream/transports"
)

// stormApp is an upstream that is slow at times, and remembers the calls of each client.
type stormApp struct {
	*storm
	told  sync.Mutex
	calls map[string][]string
}

func (a *stormApp) Matches(_, _, event string) bool {
	return event != "connected" && event != "disconnected"
}

func (a *stormApp) Call(ctx context.Context, r *upstream.Request) (*upstream.Answer, error) {
	id := between(string(r.Body), `"invocationId":"`, `"`)
	client, call, _ := strings.Cut(between(string(r.Body), `"arguments":[`, `]`), ",")
	a.note("the upstream is called by c%s: %s, key %s", client, call, r.Key)
	a.told.Lock()
	a.calls[client] = append(a.calls[client], call)
	a.told.Unlock()
	if a.n(4) == 0 {
		select {
		case <-time.After(time.Duration(a.n(400)) * time.Millisecond):
		case <-ctx.Done():
			return nil, &upstream.Error{Outcome: upstream.Cancelled}
		}
	}
	return &upstream.Answer{Status: http.StatusOK, ContentType: "application/json; charset=utf-8", Body: []byte(result(id, 42))}, nil
}

func (a *stormApp) Stream(context.Context, *upstream.Request) (*upstream.Stream, error) {
	return nil, &upstream.Error{Outcome: upstream.Cancelled}
}

// check notes a fault unless a client's calls have come once each, in order.
func (a *stormApp) check(client, calls int) {
	a.told.Lock()
	defer a.told.Unlock()
	var want []string
	for n := 1; n <= calls; n++ {
		want = append(want, strconv.Itoa(n))
	}
	if got := a.calls[strconv.Itoa(client)]; !slices.Equal(got, want) {
		a.fault("the upstream was called %v by c%d, want 1 to %d", got, client, calls)
	}
}

var _ transports.Upstream = (*stormApp)(nil)
