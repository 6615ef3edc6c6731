package streams

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// prompt lets whoever appends to a log in this process read it and deliver at once, in its own goroutine. Another goroutine that is woken
// for it waits for a processor, and the one that it waits for may be taken away by the kernel for milliseconds meanwhile.
//
// What is for many is left to the tail's goroutine: a write to each of them is most of the work, and what comes meanwhile is joined into it.
type prompt struct {
	tail PromptTail
	turn atomic.Int32 // one reads at a time, and delivers what it has read
}

// States of prompt.turn.
const (
	turnFree   int32 = iota
	turnTaken        // somebody reads
	turnMore         // and somebody has appended after it began, and looks no further
	turnWanted       // and the tail's goroutine waits for it
	turnLeft         // to the tail's goroutine, which is woken
)

// maxTurns is how often in a row one append reads: others go on appending meanwhile, and it wants to return.
const maxTurns = 2

// startPrompt makes appends read the tail, where it can be read so and is not to be paced.
func (t *tailer) startPrompt() {
	tail, ok := t.tail.(PromptTail)
	if !ok || t.node.cfg.Pace > 0 {
		return
	}
	t.prompt = &prompt{tail: tail}
	tail.OnAppend(t.deliverNow)
}

// enter takes the turn for an append. If it returns false, whoever has it, or is to have it, reads what was appended too.
func (p *prompt) enter() bool {
	for {
		switch p.turn.Load() {
		case turnFree:
			if p.turn.CompareAndSwap(turnFree, turnTaken) {
				return true
			}
		case turnTaken:
			if p.turn.CompareAndSwap(turnTaken, turnMore) {
				return false
			}
		default:
			return false
		}
	}
}

// await takes the turn for the tail's goroutine.
func (p *prompt) await() {
	for {
		switch state := p.turn.Load(); state {
		case turnFree, turnLeft:
			if p.turn.CompareAndSwap(state, turnTaken) {
				return
			}
		default:
			if p.turn.CompareAndSwap(state, turnWanted) {
				p.tail.Wait(tailBlock)
			}
		}
	}
}

// deliverNow delivers what has been appended to a hub. It returns false if that is left to the tail's goroutine, which is to be woken.
func (t *tailer) deliverNow(hub string) bool {
	defer endOnPanic()
	p := t.prompt
	if !p.enter() {
		return true
	}
	for range maxTurns {
		if !t.readNow(hub) {
			break
		}
		if p.turn.CompareAndSwap(turnTaken, turnFree) {
			return true
		}
		if !p.turn.CompareAndSwap(turnMore, turnTaken) {
			break
		}
		hub = "" // it may have been to another
	}
	p.turn.Store(turnLeft)
	return false
}

// readNow delivers what there is of a hub, or of all if the name is empty. It returns false where that is not all that is to be done. The
// caller has the turn.
func (t *tailer) readNow(hub string) bool {
	t.node.mu.Lock()
	t.list(hub)
	t.node.mu.Unlock()
	batches, ok := t.prompt.tail.Take(t.cursors, t.limit)
	now := time.Now() // after it: who was held up before it may have missed something
	if !ok || now.Sub(t.silent) >= tailBlock || slices.ContainsFunc(batches, t.isMore) {
		return false
	}
	if len(batches) > 0 {
		t.silent = now
	}
	t.measure(batches)
	for _, b := range batches {
		if t.deliver(b) != nil {
			return false
		}
	}
	return true
}

// isMore tells whether a batch is more than whoever appends can deliver, or should.
func (t *tailer) isMore(b Batch) bool {
	return b.Stored == t.limit || slices.ContainsFunc(b.Entries, func(e RawEntry) bool { return forMany(e.Data) })
}

// runPrompt is run for a tail that appends read too.
func (t *tailer) runPrompt(ctx context.Context) {
	p := t.prompt
	for {
		p.tail.Wait(t.block())
		p.await()
		if !t.readOn(ctx) {
			return // with the turn, which nobody else is to have any more
		}
	}
}

// readOn reads until there is nothing, and gives back the turn. It returns false when there are no hubs any more, or ctx has ended.
func (t *tailer) readOn(ctx context.Context) bool {
	p := t.prompt
	for {
		p.turn.Store(turnTaken)
		if !t.collect(ctx) {
			return false
		}
		batches, err := p.tail.Read(ctx, t.cursors, t.limit, 0)
		if ctx.Err() != nil {
			t.stopped()
			return false
		}
		t.settle(ctx, batches, err)
		if err == nil && len(batches) == 0 && p.turn.CompareAndSwap(turnTaken, turnFree) {
			return true
		}
	}
}

// endOnPanic makes a panic end the process, as one of the tail's goroutine does: who serves requests would catch it, and the hub stay locked.
func endOnPanic() {
	if v := recover(); v != nil {
		text := fmt.Sprintf("%v\n\n%s", v, debug.Stack())
		go panic(text)
		select {}
	}
}
