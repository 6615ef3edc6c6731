package bench

import (
	"context"
	"fmt"
	"time"

	"hubstream/internal/sleep"
)

// publish sends messages of a publisher's streams, one after the other, until ctx ends.
func (r *run) publish(ctx context.Context, publisher int) {
	var arguments, body []byte
	begin := r.now()
	for k := 0; ctx.Err() == nil; k++ {
		at := r.now()
		if r.o.Rate > 0 {
			at = begin + time.Duration((float64(k*r.o.Publishers+publisher)+0.5)/r.o.Rate*float64(time.Second))
			_ = sleep.For(ctx, at-r.now())
			if ctx.Err() != nil {
				return
			}
		}
		index := r.plan.pick(publisher)
		s := &r.plan.streams[index]
		select {
		case <-s.all: // of a message that was not waited for any more
		default:
		}
		number := s.issued.Load() + 1
		s.left.Store(r.due[s.target])
		s.issued.Store(number)
		arguments = stamp{r.id, index, number, at}.appendArguments(arguments[:0], r.o.Size)
		body = fmt.Appendf(body[:0], `{"target":"bench","arguments":%s%s}`, arguments, r.plan.audience(s.target))
		hub := r.plan.hub(s.target)
		_, err := r.service.backend(context.WithoutCancel(ctx), hub, "/send", r.backendTokens[hub], body)
		if err != nil {
			r.counts.sendFailed.Add(1)
			r.counts.failed(fmt.Errorf("send: %w", err))
			r.excuse(numbered{index, number})
			_ = sleep.For(ctx, retryPause)
			continue
		}
		s.accepted.Store(number)
		r.counts.sent.Add(1)
		if r.o.UnderWay > 0 && r.due[s.target] > 0 {
			select {
			case <-s.all:
			case <-time.After(r.o.Settle):
				r.counts.failed(fmt.Errorf("-under-way: not all had a message within %v", r.o.Settle))
			case <-ctx.Done():
			}
		}
	}
}

// arrived notes that one more client has the stream's newest message.
func (s *stream) arrived(number uint32) {
	if number == s.issued.Load() && s.left.Add(-1) == 0 {
		select {
		case s.all <- struct{}{}:
		default:
		}
	}
}

// excuse notes a message that may be there or not.
func (r *run) excuse(m numbered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.excused[m] = true
}

func (r *run) isExcused(m numbered) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.excused[m]
}
