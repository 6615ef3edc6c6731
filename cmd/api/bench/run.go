package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hubstream/internal/sleep"
)

// run is one run.
type run struct {
	o       *Options
	id      int // tells its messages from those of other runs
	service *Service
	plan    *plan
	due     []int32 // clients that must get a message, by target
	began   time.Time

	backendTokens map[string]string // by hub
	connecting    chan struct{}     // holds one for each client that connects
	clients       []*client
	counts        counts
	// What is to be sent in this time is measured, whenever it comes; since began, 0: not yet.
	measuredFrom, measuredTo atomic.Int64

	mu      sync.Mutex
	excused map[numbered]bool
}

// Run measures nodes, which hub names in each. The report is there, too, when ctx has ended early.
func Run(ctx context.Context, s *Service, hub string, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s.open()
	defer s.close()
	r := &run{
		o: &o, id: rand.IntN(1e9), service: s, plan: newPlan(hub, &o), began: time.Now(), backendTokens: map[string]string{},
		connecting: make(chan struct{}, o.Connectors), excused: map[numbered]bool{},
	}
	r.counts.errors = map[string]int64{}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	defer working.Wait()
	defer stop()
	report := &Report{}
	if err := r.connect(ctx, serving, &working); err != nil {
		return nil, err
	}
	report.ConnectSeconds = r.now().Seconds()
	working.Go(func() { r.keepAlive(serving) })
	report.measure(ctx, r)
	r.settle()
	report.finish(r)
	return report, nil
}

// now is the time since the run began.
func (r *run) now() time.Duration { return time.Since(r.began) }

func (r *run) prepare() (err error) {
	for t := range r.plan.members {
		r.due = append(r.due, r.plan.due(t))
	}
	for h := range r.o.Hubs {
		hub := r.plan.hub(h)
		if r.service.BackendToken != nil {
			if r.backendTokens[hub], err = r.service.BackendToken(hub); err != nil {
				return err
			}
		}
	}
	for i, targets := range r.plan.hears() {
		c := &client{
			run: r, index: i, hub: r.plan.hub(i), user: r.plan.user(i), slow: r.plan.isSlow(i),
			ledger: newLedger(r.plan.streamsOf(targets)),
		}
		if r.o.Groups > 0 {
			for _, t := range targets {
				c.groups = append(c.groups, r.plan.group(t))
			}
		}
		r.clients = append(r.clients, c)
	}
	return nil
}

// connect starts the clients, and returns when all are connected.
func (r *run) connect(ctx, serving context.Context, working *sync.WaitGroup) error {
	answers := make(chan error, len(r.clients))
	for _, c := range r.clients {
		working.Go(func() { c.serve(serving, func(err error) { answers <- err }) })
	}
	failed, first := 0, error(nil)
	for range r.clients {
		select {
		case err := <-answers:
			if err != nil {
				failed++
				if first == nil {
					first = err
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d clients could not connect, the first: %w", failed, len(r.clients), first)
	}
	return nil
}

// load publishes, and cuts clients off, for as long as ctx lasts.
func (r *run) load(ctx context.Context) {
	var working sync.WaitGroup
	for publisher := range r.o.Publishers {
		working.Go(func() { r.publish(ctx, publisher) })
	}
	if r.o.CutEvery > 0 {
		working.Go(func() { r.cutClients(ctx) })
	}
	working.Wait()
}

func (r *run) cutClients(ctx context.Context) {
	for {
		_ = sleep.For(ctx, r.o.CutEvery)
		if ctx.Err() != nil {
			return
		}
		number := int(r.o.CutShare*float64(len(r.clients)) + 0.5)
		for _, i := range rand.Perm(len(r.clients))[:number] {
			if r.clients[i].cut() {
				r.counts.cuts.Add(1)
			}
		}
	}
}

// isMeasured tells whether the latency of what was to be sent at a time is measured. When it comes makes no difference: what a node
// that stands still holds back until the end would else be in no number.
func (r *run) isMeasured(due time.Duration) bool {
	from := r.measuredFrom.Load()
	return from > 0 && int64(due) >= from && int64(due) < r.measuredTo.Load()
}

// keepAlive has the clients send what is due.
func (r *run) keepAlive(ctx context.Context) {
	for ctx.Err() == nil {
		for _, c := range r.clients {
			c.keepAlive(time.Now())
		}
		_ = sleep.For(ctx, ackInterval)
	}
}

// settlePause is how often is looked whether everything has come.
const settlePause = 20 * time.Millisecond

// settle waits until all have all. It does when the run has been ended early, too: what is on its way is not lost.
func (r *run) settle() {
	for deadline := time.Now().Add(r.o.Settle); time.Now().Before(deadline); time.Sleep(settlePause) {
		if r.lost() == 0 && r.away() == 0 {
			return
		}
	}
}

// lost is how many messages have not come to those who must get them.
func (r *run) lost() (n int64) {
	accepted := func(stream int) uint32 { return r.plan.streams[stream].accepted.Load() }
	for _, c := range r.clients {
		if !c.slow {
			n += c.ledger.lost(accepted, r.isExcused)
		}
	}
	return n
}

// away is how many clients are not connected.
func (r *run) away() (n int) {
	for _, c := range r.clients {
		c.mu.Lock()
		if c.session == nil {
			n++
		}
		c.mu.Unlock()
	}
	return n
}
