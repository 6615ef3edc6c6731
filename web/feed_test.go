package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hubstream/streams"
	"hubstream/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reporter reports as a node does.
func reporter(store streams.Store, node string) func(context.Context, []byte, time.Duration) ([]web.Told, error) {
	return func(ctx context.Context, data []byte, keep time.Duration) ([]web.Told, error) {
		all, err := store.Report(ctx, node, data, keep)
		told := make([]web.Told, len(all))
		for i, r := range all {
			told[i] = web.Told(r)
		}
		return told, err
	}
}

func feedOf(t *testing.T, store streams.Store, node string) (f *web.Feed, stop func()) {
	t.Helper()
	f = web.NewFeed(func() web.Report { return web.Report{Node: node, State: web.StateReady} }, reporter(store, node))
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		f.Run(ctx)
	}()
	stop = func() {
		f.Close()
		cancel()
		<-ran
	}
	t.Cleanup(stop)
	return f, stop
}

type event struct {
	Error string
	Nodes []struct {
		Name   string
		Gone   bool
		Report web.Report
	}
}

// state is how a node is shown, as "n1 ready", "n1 gone".
func (e event) state(node string) string {
	for _, n := range e.Nodes {
		if n.Name == node && n.Gone {
			return "gone"
		} else if n.Name == node {
			return n.Report.State
		}
	}
	return "unknown"
}

// view follows a feed.
func view(t *testing.T, url string) (next func() (event, error)) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	lines := bufio.NewReader(answer.Body)
	return func() (e event, err error) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return e, err
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				return e, json.Unmarshal([]byte(data), &e)
			}
		}
	}
}

// patience limits every wait for what must happen.
const patience = 30 * time.Second

func until(t *testing.T, next func() (event, error), node, want string) {
	t.Helper()
	began := time.Now()
	for {
		e, err := next() // every two seconds there is one
		if err != nil || time.Since(began) > patience {
			t.Fatalf("waiting for %s to be %s: it is %s (%v)", node, want, e.state(node), err)
		}
		if e.state(node) == want {
			return
		}
	}
}

// Wherever one looks there are all nodes; one that stopped says so, one that was killed is gone when it has been silent.
func TestFeedShowsNodesAsTheyComeStopAndAreKilled(t *testing.T) {
	t.Parallel()
	var skew atomic.Int64
	store := streams.NewMemory(streams.MemoryConfig{Clock: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }})
	here, _ := feedOf(t, store, "n1")
	server := httptest.NewServer(here)
	defer server.Close()
	defer here.Close()
	next := view(t, server.URL)
	until(t, next, "n1", web.StateReady)

	_, stop := feedOf(t, store, "n2")
	until(t, next, "n2", web.StateReady)
	stop()
	until(t, next, "n2", web.StateStopped)

	report, _ := json.Marshal(web.Report{Node: "n3", State: web.StateReady})
	if _, err := reporter(store, "n3")(t.Context(), report, time.Minute); err != nil { // once, and never again
		t.Fatal(err)
	}
	until(t, next, "n3", web.StateReady)
	skew.Store(int64(time.Minute)) // the store's clock goes on
	until(t, next, "n3", "gone")
	until(t, next, "n1", web.StateReady) // it goes on reporting
	skew.Store(int64(time.Hour))
	until(t, next, "n3", "unknown")
}

func TestFeedSaysThatTheStoreIsAway(t *testing.T) {
	t.Parallel()
	store := streams.NewMemory(streams.MemoryConfig{})
	f, _ := feedOf(t, store, "n1")
	server := httptest.NewServer(f)
	defer server.Close()
	defer f.Close()
	next := view(t, server.URL)
	until(t, next, "n1", web.StateReady)
	_ = store.Close()
	for {
		e, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Error != "" && e.state("n1") == web.StateReady {
			return
		}
	}
}

// A node that stops must not wait for people who watch it.
func TestCloseEndsViewers(t *testing.T) {
	t.Parallel()
	f, _ := feedOf(t, streams.NewMemory(streams.MemoryConfig{}), "n1")
	server := httptest.NewServer(f)
	defer server.Close()
	next := view(t, server.URL)
	until(t, next, "n1", web.StateReady)
	f.Close()
	for {
		if _, err := next(); err != nil {
			break
		}
	}
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closed feed answers %d", answer.StatusCode)
	}
}

// A store that is away would hold up the end of a node that is drained.
func TestFeedsEndDoesNotWaitForTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		feed := web.NewFeed(func() web.Report { return web.Report{} }, func(ctx context.Context, _ []byte, _ time.Duration) ([]web.Told, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		defer feed.Close()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			feed.Run(ctx)
			close(done)
		}()
		synctest.Wait()
		began := time.Now()
		stop()
		<-done
		if took := time.Since(began); took > time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}
