package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

// tail prints what is sent in a hub, one message in a line, until ctx ends.
func tail(ctx context.Context, c *call) error {
	var groups, user, from string
	c.flags.StringVar(&groups, "groups", "", "also what is sent to these groups, separated by commas")
	c.flags.StringVar(&user, "user", "", "also what is sent to this user; with -connect, the user to connect as")
	c.flags.StringVar(&from, "from", "", "position to begin after, as send prints it (default: now)")
	connect := c.flags.Bool("connect", false, "connect as a client, by a WebSocket")
	s, err := c.serviceAlone()
	if err != nil {
		return err
	}
	if *connect {
		if groups != "" || from != "" {
			return errors.New("-groups and -from are for event streams, not for -connect")
		}
		return listen(ctx, c, &s, user)
	}
	query := url.Values{}
	if groups != "" {
		query.Set("groups", groups)
	}
	if user != "" {
		query.Set("user", user)
	}
	f := &follower{service: &s, hub: c.hub, out: c.out, errs: c.errs}
	f.client = sse.NewClient(s.address+hubPath(c.hub)+"/events?"+query.Encode(), sse.ClientMaxBufferSize(maxLine))
	f.client.LastEventID.Store([]byte(from))
	f.client.ReconnectStrategy = &backoff.StopBackOff{} // the tokens of later attempts are new ones
	f.client.ResponseValidator = f.check
	return f.run(ctx)
}

// maxLine is the longest line of an event stream: the largest message, and what is around it.
const maxLine = 2 << 20 // 2 MiB

// follower follows a plain event stream.
type follower struct {
	*service
	hub       string
	out, errs io.Writer
	client    *sse.Client
	refused   error // no attempt will help
	opened    bool
}

// Pauses between attempts.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 10 * time.Second
)

// run goes on at whichever node answers, from where it was.
func (f *follower) run(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		token, err := f.hubToken(f.hub)
		if err != nil {
			return err
		}
		if token != "" {
			f.client.Headers["Authorization"] = "Bearer " + token
		}
		f.opened = false
		err = f.client.SubscribeRawWithContext(ctx, f.print)
		switch {
		case ctx.Err() != nil:
			return nil
		case f.refused != nil:
			return f.refused
		case f.opened:
			pause = firstPause
		}
		if err != nil {
			fmt.Fprintln(f.errs, "hubstream: connecting again:", unwrapped(err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// check tells an answer that will be the same again from one that may change.
func (f *follower) check(_ *sse.Client, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		f.opened = true
		answer.Body = newWholeEvents(answer.Body)
		return nil
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	err := refusalOf(answer.StatusCode, text)
	if answer.StatusCode/100 == 4 && answer.StatusCode != http.StatusTooManyRequests {
		f.refused = err
	}
	return err
}

func (f *follower) print(e *sse.Event) {
	switch {
	case len(e.Data) == 0:
	case string(e.Event) == "gap":
		fmt.Fprintf(f.errs, "hubstream: something is missing here: %s\n", e.Data)
	default:
		fmt.Fprintf(f.out, "%s\n", e.Data)
	}
}
