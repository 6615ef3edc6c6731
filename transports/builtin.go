package transports

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hubstream/internal/sleep"
	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// builtIn calls one of the methods that every hub has, if the client has a right to it. An error's text is for the client. Without
// the right it is a method like any other, for an upstream that takes it.
func (w *session) builtIn(proto hubprotocol.Protocol, m *hubprotocol.Message, number uint64) (handled bool, text string) {
	if !slices.Contains(builtIn, m.Target) {
		return false, ""
	}
	rights := w.who.rights(w.s)
	up := w.s.cfg.Upstream
	arguments, err := builtInArguments(proto, m)
	group := ""
	if err == nil && m.Target != methodSendToAll {
		group, err = arguments.group()
	}
	granted := err == nil && may(rights, m.Target, group)
	switch {
	case !granted && up != nil && up.Matches(w.hub, upstream.CategoryMessages, m.Target):
		return false, ""
	case err != nil && len(rights) > 0:
		return true, fmt.Sprintf("Failed to invoke '%s': %v.", m.Target, err)
	case !granted:
		return true, fmt.Sprintf("Failed to invoke '%s' because user is unauthorized", m.Target)
	}
	if m.Type == hubprotocol.StreamInvocation || len(m.StreamIDs) > 0 {
		return true, fmt.Sprintf("The client attempted to invoke the non-streaming '%s' method with a streaming invocation.", m.Target)
	}
	arguments.key = fmt.Sprint("\x00", w.id, ":", number)
	if err := w.callBuiltIn(m.Target, group, arguments); err != nil {
		return true, fmt.Sprintf("Failed to invoke '%s': %v.", m.Target, err)
	}
	return true, ""
}

func (w *session) callBuiltIn(method, group string, rest arguments) error {
	switch method {
	case methodJoinGroup, methodLeaveGroup:
		if len(rest.list) > 0 {
			return errors.New("it has one argument, the group")
		}
		verb := streams.VerbJoin
		if method == methodLeaveGroup {
			verb = streams.VerbLeave
		}
		return w.reaching(func(ctx context.Context) error {
			_, err := w.s.node.Join(ctx, w.hub, w.id, verb, group)
			return err
		})
	}
	target, err := rest.target()
	if err != nil {
		return err
	}
	list, _ := json.Marshal(rest.list) // cannot fail: it was an array
	body, err := hubprotocol.AppendInvocation(nil, target, list)
	if err != nil {
		return err
	}
	e := streams.Entry{Kind: streams.KindMessage, Body: body, Flags: streams.FlagAll}
	if method == methodSendToGroup {
		e.Flags, e.Groups = 0, []string{group}
	}
	// The number of the item makes a repetition, after this node has failed, the same send.
	return w.reaching(func(ctx context.Context) error {
		_, _, err := w.s.node.PublishOnce(ctx, w.hub, rest.key, "", builtInKeep, &e)
		return err
	})
}

// builtInKeep is how long a send is known as such: longer than it takes another node to take over.
const builtInKeep = 10 * time.Minute

// reaching repeats what is safe to repeat while the store is away.
func (w *session) reaching(f func(context.Context) error) error {
	for {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.s.works.ctx), w.s.cfg.StoreTimeout)
		err := f(ctx)
		cancel()
		switch {
		case errors.Is(err, streams.ErrUnavailable), errors.Is(err, streams.ErrOutcomeUnknown):
			if sleep.For(w.s.works.ctx, storeRetry) != nil {
				return err
			}
		case errors.Is(err, streams.ErrFull):
			return streams.ErrFull // what the store itself says is not for clients
		case errors.Is(err, streams.ErrGone):
			return nil // there is nobody left to join, nor to be told
		default:
			return err
		}
	}
}

// arguments are those of a built-in method that are not used yet.
type arguments struct {
	key  string // of a send, which no producer's is like
	list []json.RawMessage
}

func builtInArguments(proto hubprotocol.Protocol, m *hubprotocol.Message) (arguments, error) {
	var a arguments
	text, err := hubprotocol.ToJSON(proto, m.Arguments)
	if err == nil {
		err = json.Unmarshal(text, &a.list)
	}
	return a, err
}

// group takes the next argument, the name of a group.
func (a *arguments) group() (string, error) {
	name := a.text()
	if name == "" || streams.NameTooLong(name) {
		return "", fmt.Errorf("the group must be a string of 1 to %d characters", streams.MaxNameLength)
	}
	return name, nil
}

// target takes the next argument, a method of clients.
func (a *arguments) target() (string, error) {
	name := a.text()
	if name == "" || len(name) > streams.MaxIDBytes {
		return "", fmt.Errorf("the target must be a string of 1 to %d bytes", streams.MaxIDBytes)
	}
	return name, nil
}

// text takes the next argument; empty if there is none that is a string.
func (a *arguments) text() (s string) {
	if len(a.list) == 0 || json.Unmarshal(a.list[0], &s) != nil {
		return ""
	}
	a.list = a.list[1:]
	return s
}
