package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// message is the body of a send.
type message struct {
	Target      string `json:"target"`
	Arguments   []any  `json:"arguments"`
	Groups      names  `json:"groups,omitempty"`
	Users       names  `json:"users,omitempty"`
	Connections names  `json:"connections,omitempty"`
	Excluded    names  `json:"excluded,omitempty"`
	ID          string `json:"id,omitempty"`
}

// send sends a message, and prints its position.
func send(ctx context.Context, c *call) error {
	m := message{Arguments: []any{}}
	c.flags.Var(&m.Groups, "group", "to a group; may be repeated, as all of these")
	c.flags.Var(&m.Users, "user", "to a user")
	c.flags.Var(&m.Connections, "to", "to a connection")
	c.flags.Var(&m.Excluded, "except", "not to a connection")
	c.flags.StringVar(&m.ID, "id", "", "idempotency key: the same again is sent once")
	rest, err := c.parse()
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return errors.New("the target is missing: hubstream send -hub HUB TARGET [ARGUMENT...]")
	}
	m.Target = rest[0]
	for _, argument := range rest[1:] {
		if c.isFlag(argument) {
			return fmt.Errorf(`%s after the target: flags go before it; as a text of the message it is '"%[1]s"'`, argument)
		}
		m.Arguments = append(m.Arguments, valueOf(argument))
	}
	s, err := c.service()
	if err != nil {
		return err
	}
	var answer struct {
		Position string
		Replayed bool
	}
	if err := s.do(ctx, http.MethodPost, c.hub, "/send", m, &answer); err != nil {
		return err
	}
	if answer.Replayed {
		answer.Position += " (sent before)"
	}
	fmt.Fprintln(c.out, answer.Position)
	return nil
}
