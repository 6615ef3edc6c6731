package streams

import "context"

// Join implements Records.
func (m *Memory) Join(ctx context.Context, hub string, r JoinRequest) (reply JoinReply, err error) {
	err = m.update(ctx, hub, r.ID, func(h *memoryHub, rec *memoryRecord, now int64) error {
		if rec.State == StateClosing {
			return ErrGone
		}
		groups := r.Groups
		if r.Verb == VerbLeaveAll {
			groups = rec.Groups.names()
		}
		changed, newest := rec.Groups.changes(groups, r.Verb == VerbJoin)
		if len(changed) == 0 {
			reply.Position = newest
			return nil
		}
		if r.Verb == VerbJoin && rec.Groups.open()+len(changed) > MaxGroups {
			return ErrTooManyGroups
		}
		p := h.append(string(r.Entry), now)
		if rec.Groups == nil {
			rec.Groups = Memberships{}
		}
		rec.Groups.change(changed, r.Verb == VerbJoin, p)
		rec.Groups.forget(h.floor)
		rec.Membership++
		reply = JoinReply{Position: p, Changed: true}
		return nil
	})
	return reply, err
}
