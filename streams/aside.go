package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hubstream/internal/reasons"
)

// asideRetry is how long a hub that cannot be read is left alone before it is tried again.
const asideRetry = time.Second

// aside is a hub that a tail does not read: its log cannot be verified, while others can be. Somebody may have written what is no log over
// it, which Valkey refuses to read, and with it all that is asked for together. Guarded by Node.mu but for told, which is the tail's.
type aside struct {
	until time.Time
	told  reasons.Told
}

// setAside leaves a hub alone for some time.
func (t *tailer) setAside(h *hub, reason error) {
	t.node.mu.Lock()
	if t.hubs[h.name] != h { // retired
		t.node.mu.Unlock()
		return
	}
	a := t.aside[h.name]
	if a == nil {
		a = &aside{}
		t.aside[h.name] = a
	}
	a.until = time.Now().Add(asideRetry)
	t.node.mu.Unlock()
	if text, fresh := a.told.Add(reason); fresh {
		t.node.log.Error("hub cannot be read", "hub", h.name, "error", text)
	}
}

// readmit verifies the hubs that were left alone for long enough. Those that can be are read again.
func (t *tailer) readmit(ctx context.Context) {
	for _, h := range t.asideUntil(time.Now()) {
		if err := h.verify(ctx); err != nil {
			t.setAside(h, err)
			continue
		}
		t.node.mu.Lock()
		delete(t.aside, h.name)
		t.node.mu.Unlock()
		t.node.log.Info("hub is read again", "hub", h.name)
	}
}

// asideUntil returns the hubs that were to be left alone until now.
func (t *tailer) asideUntil(now time.Time) (due []*hub) {
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	for name, a := range t.aside {
		if !now.Before(a.until) {
			due = append(due, t.hubs[name])
		}
	}
	return due
}

// verifyEach verifies each hub. Those that cannot be are set aside, so that the others go on; with an error if that is all of them, or
// if it is the store.
func (t *tailer) verifyEach(ctx context.Context) (failed error) {
	broken := map[*hub]error{}
	for _, h := range t.reading {
		err := h.verify(ctx)
		if errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrRefused) {
			return err
		}
		if err != nil {
			broken[h], failed = err, fmt.Errorf("hub %q: %w", h.name, err)
		}
	}
	if len(broken) == len(t.reading) {
		return failed
	}
	for h, err := range broken {
		t.setAside(h, err)
	}
	return nil
}

// unread is how many hubs of the bucket are not read now. Node.mu is held.
func (t *tailer) unread() int {
	if t.stuck {
		return len(t.hubs)
	}
	return len(t.aside)
}
