package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hubstream/integration/internal/jsclient"
	"hubstream/integration/internal/nodes"
	"hubstream/integration/internal/proc"
	"hubstream/integration/internal/proxytest"
	"hubstream/integration/internal/relay"
	"hubstream/internal/sleep"
)

// Config says how much of what a run has.
type Config struct {
	Topology Topology
	Seed     uint64
	Duration time.Duration // of the faults
	Pace     time.Duration // mean pause between two faults of the busiest kinds

	// Clients by kind; half of the stateful and polling ones are official.
	Stateful, Polling, Sockets, Events, Plain int
	Publishers                                int
	Rate                                      int // messages a second, all publishers together
	Broadcasts                                int // percent
	Changes                                   int // of memberships, a second
	CloseOneIn                                int // changes

	// Fast: nodes without the race detector.
	Fast bool
	// Logs is a directory for the nodes' logs at level debug; none if empty.
	Logs string
}

const (
	nodeCount  = 3
	relayCount = 8
	hubCount   = 2
	drainTime  = 2 * time.Second
	// settleTimeout is how long after the last fault every client may take until it has everything: a client that saw
	// nothing of a black hole's end finds out by its own time-out, and may then wait for the service's.
	settleTimeout = 100 * time.Second
)

// run is one run.
type run struct {
	tb    testing.TB
	cfg   Config
	ctx   context.Context // of the clients
	began time.Time

	hubs   []string
	groups []string
	users  [][]string // by hub

	store  *store
	nodes  []*place
	relays []*relay.Relay
	js     []*jsclient.Client

	lostTails []LostTail

	clients []*recorder
	quiet   atomic.Bool // clients call nothing any more
}

func (r *run) now() time.Duration { return time.Since(r.began) }

// Run makes one run and returns its history, and how often each fault happened.
func Run(tb testing.TB, cfg Config) (*History, map[Action]int) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &run{tb: tb, cfg: cfg, ctx: ctx, began: time.Now()}
	schedule := plan(cfg.Seed, cfg.Duration, lanesFor(cfg.Topology, relayCount, cfg.Pace))
	tb.Logf("%s, seed %d, %v\n%v", cfg.Topology, cfg.Seed, cfg.Duration, schedule)

	r.name()
	r.start()
	tb.Cleanup(r.stopNodes)
	var clients sync.WaitGroup
	tb.Cleanup(clients.Wait)
	tb.Cleanup(cancel)
	r.connect(&clients)
	r.awaitConnected()

	h := r.load(func() map[Action]int { return r.execute(schedule) })
	tb.Logf("faults: %v", h.faults)
	h.Sessions, h.LostTails = r.settle(h.finalSent), r.lostTails
	r.writeNotes()
	return &h.History, h.faults
}

func (r *run) name() {
	for i := range hubCount {
		r.hubs = append(r.hubs, fmt.Sprintf("chaos%d", i))
		var users []string
		for u := range max(2, (r.cfg.Stateful+r.cfg.Polling)/2/hubCount) {
			users = append(users, fmt.Sprintf("user-%d-%d", i, u))
		}
		r.users = append(r.users, users)
	}
	for g := range 20 {
		r.groups = append(r.groups, fmt.Sprintf("group-%d", g))
	}
}

// place is where a node runs: one after the other, at one address.
type place struct {
	run  *run
	name string
	addr string
	mu   sync.Mutex
	life int
	node *nodes.Node // the current one; nil while there is none
	log  *os.File
}

func (r *run) start() {
	r.store = startStore(r.tb, r.cfg.Topology)
	var addrs []string
	for i := range nodeCount {
		port, err := proc.FreePort()
		if err != nil {
			r.tb.Fatal(err)
		}
		p := &place{run: r, name: fmt.Sprintf("n%d", i+1), addr: fmt.Sprintf("127.0.0.1:%d", port)}
		if err := p.start(); err != nil {
			r.tb.Fatal(err)
		}
		r.nodes = append(r.nodes, p)
		addrs = append(addrs, p.addr)
	}
	around, err := r.balance(addrs)
	if err != nil {
		r.tb.Fatal(err)
	}
	steady, err := r.balance(addrs, proxytest.Steady())
	if err != nil {
		r.tb.Fatal(err)
	}
	for i := range relayCount {
		r.relays = append(r.relays, relay.Start(r.tb, strings.TrimPrefix([...]string{around, steady}[i%2], "http://")))
	}
	for range 2 {
		js, err := jsclient.Run()
		if err != nil {
			r.tb.Fatal(err)
		}
		r.js = append(r.js, js)
		r.tb.Cleanup(func() {
			if err := js.Close(); err != nil {
				r.tb.Logf("JavaScript clients: %v", err) // theirs to throw when a server goes away
			}
		})
	}
}

// balance starts a proxy that sends failed polls again, and returns its address.
func (r *run) balance(nodes []string, more ...proxytest.Option) (string, error) {
	p, err := proxytest.RunHAProxy(nodes, append(more, proxytest.RetryPolls(), proxytest.Retries(10))...)
	if err != nil {
		return "", err
	}
	r.tb.Cleanup(func() { _ = p.Stop() })
	return p.URL, nil
}

func (p *place) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life++
	o := nodes.Options{
		Name: fmt.Sprintf("%s-%d", p.name, p.life), Drain: drainTime, Fast: p.run.cfg.Fast,
		Args: append([]string{"-listen", p.addr}, p.run.store.args()...),
	}
	if p.run.cfg.Logs != "" {
		if p.log == nil {
			var err error
			if p.log, err = os.Create(filepath.Join(p.run.cfg.Logs, p.name+".log")); err != nil {
				return err
			}
		}
		o.Args = append(o.Args, "-log-level", "debug")
		o.Log = p.log
	}
	n, err := nodes.RunProcess(o)
	if err != nil {
		return err
	}
	p.node = n
	go func() {
		<-n.Done()
		if err := n.Stop(); err != nil && !strings.Contains(err.Error(), "did not end") {
			p.run.tb.Errorf("node %s: %v\n%s", n.Name, err, tail(n.Output()))
		}
	}()
	return nil
}

func tail(text string) string { return text[max(0, len(text)-8<<10):] }

// end ends the node there, and returns when it has ended.
func (p *place) end(kill bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.node == nil {
		return
	}
	if kill {
		p.node.Kill()
	} else if err := p.node.Stop(); err != nil {
		p.run.tb.Errorf("node %s: %v\n%s", p.node.Name, err, tail(p.node.Output()))
	}
	p.node = nil
}

func (p *place) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.node != nil {
		p.node.Freeze(on)
	}
}

func (r *run) stopNodes() {
	for _, p := range r.nodes {
		p.end(true)
		if p.log != nil {
			p.log.Close()
		}
	}
}

// connect starts the clients.
func (r *run) connect(running *sync.WaitGroup) {
	add := func(kind Kind, n int, official bool) {
		for range n {
			i := len(r.clients)
			hub := i % hubCount
			c := &recorder{
				run: r, name: fmt.Sprintf("client %d", i), kind: kind, official: official, hub: hub,
				user: r.users[hub][i/hubCount%len(r.users[hub])], base: "http://" + r.relays[i/3%relayCount].Addr,
			}
			if kind == Plain {
				c.user = ""
			}
			r.clients = append(r.clients, c)
			running.Go(func() {
				_ = sleep.For(r.ctx, time.Duration(i)*10*ms)
				r.clientFor(c, i).serve()
			})
		}
	}
	add(Stateful, r.cfg.Stateful/2, true)
	add(Polling, r.cfg.Polling/2, true)
	add(Stateful, r.cfg.Stateful-r.cfg.Stateful/2, false)
	add(Polling, r.cfg.Polling-r.cfg.Polling/2, false)
	add(Socket, r.cfg.Sockets, false)
	add(Events, r.cfg.Events, false)
	add(Plain, r.cfg.Plain, false)
}

func (r *run) clientFor(c *recorder, i int) interface{ serve() } {
	switch {
	case c.official:
		protocol := jsclient.JSON
		if i%3 == 0 {
			protocol = jsclient.MessagePack
		}
		return &officialClient{recorder: c, js: r.js[i/2%len(r.js)], protocol: protocol, reconnect: i/4%2 == 0}
	case c.kind == Stateful:
		return &webSocketClient{recorder: c, version: 2}
	case c.kind == Polling:
		return &pollingClient{c}
	case c.kind == Socket:
		return &webSocketClient{recorder: c, version: 1}
	case c.kind == Events:
		return &eventsClient{c}
	}
	return &plainClient{c, []string{r.groups[i%len(r.groups)], r.groups[(i+7)%len(r.groups)]}}
}

func (r *run) awaitConnected() {
	r.tb.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for _, c := range r.clients {
		for {
			c.mu.Lock()
			open := c.current != nil && c.current.Opened != 0
			c.mu.Unlock()
			if open {
				break
			}
			if time.Now().After(deadline) {
				r.tb.Fatalf("%s (%s, official %v) does not get connected: %v", c.name, c.kind, c.official, c.sessions)
			}
			time.Sleep(10 * ms)
		}
	}
}

// anyConnection draws a connection of a hub.
func (r *run) anyConnection(hub int, random *rand.Rand) (id string, ok bool) {
	for range 5 {
		c := r.clients[random.IntN(len(r.clients))]
		if c.hub == hub {
			if id, ok := c.connected(); ok {
				return id, true
			}
		}
	}
	return "", false
}

// loaded is a history without its sessions.
type loaded struct {
	History
	faults    map[Action]int
	finalSent []time.Duration // by hub
}

// load sends messages and changes memberships while faults happen, and last a final message to each hub.
func (r *run) load(faults func() map[Action]int) *loaded {
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	publishers := []*publisher{}
	var working sync.WaitGroup
	for id := range r.cfg.Publishers + 1 {
		p := &publisher{backend: newBackend(r), id: uint32(id), random: rand.New(rand.NewPCG(r.cfg.Seed, 100+uint64(id))), odd: map[string]int{}}
		publishers = append(publishers, p)
		if id != finalPublisher {
			working.Go(func() { p.serve(ctx, time.Second*time.Duration(r.cfg.Publishers)/time.Duration(r.cfg.Rate)) })
		}
	}
	m := newMembers(r)
	const memberWorkers = 4
	for i := range memberWorkers {
		random := rand.New(rand.NewPCG(r.cfg.Seed, 1000+uint64(i)))
		working.Go(func() { m.serve(ctx, random, time.Second*memberWorkers/time.Duration(r.cfg.Changes)) })
	}
	r.tb.Logf("faults begin at %v", r.now().Round(ms))
	h := &loaded{faults: faults()}
	_ = sleep.For(r.ctx, time.Second) // some more without faults
	stop()
	working.Wait()
	r.quiet.Store(true)

	final := publishers[finalPublisher]
	for hub := range r.hubs {
		for end := time.Now().Add(settleTimeout); final.publish(hub, Audience{All: true}) != Accepted; {
			if time.Now().After(end) {
				r.tb.Fatalf("no node takes a message after the last fault: %+v", final.odd)
			}
			_ = sleep.For(r.ctx, 200*ms)
		}
		last := final.sends[len(final.sends)-1]
		h.Final = append(h.Final, last.Position)
		h.finalSent = append(h.finalSent, last.Invoked)
	}
	for _, p := range publishers {
		h.Sends = append(h.Sends, p.sends)
		for answer, n := range p.odd {
			r.tb.Errorf("a send was answered %d times with %s", n, answer)
		}
	}
	h.Changes, h.Closes = m.changes, m.closes
	return h
}

// settle waits until every client has everything, and returns what all of them saw.
func (r *run) settle(finalSent []time.Duration) []*Session {
	settling := r.now()
	missing := func() (list []string) {
		for _, c := range r.clients {
			if !c.complete(finalSent[c.hub]) {
				list = append(list, fmt.Sprintf("%s (%s, official %v)", c.name, c.kind, c.official))
			}
		}
		return list
	}
	deadline := time.Now().Add(settleTimeout)
	var last []string
	for list := missing(); len(list) > 0 && time.Now().Before(deadline); list = missing() {
		last = list
		time.Sleep(50 * ms)
	}
	if list := missing(); len(list) > 0 {
		r.tb.Errorf("%d clients do not have the final message %v after the last fault: %v", len(list), settleTimeout, list)
	} else {
		r.tb.Logf("settled in %v; the last were %v", (r.now() - settling).Round(ms), last)
	}
	time.Sleep(500 * ms) // whatever comes twice
	var all []*Session
	for _, c := range r.clients {
		all = append(all, c.freeze()...)
	}
	return all
}

// writeNotes lists what happened to the official clients beside the nodes' logs.
func (r *run) writeNotes() {
	if r.cfg.Logs == "" {
		return
	}
	var b strings.Builder
	for _, c := range r.clients {
		c.mu.Lock()
		for _, text := range c.notes {
			b.WriteString(text + "\n")
		}
		c.mu.Unlock()
	}
	if err := os.WriteFile(filepath.Join(r.cfg.Logs, "notes"), []byte(b.String()), 0o600); err != nil {
		r.tb.Error(err)
	}
}
