package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// Limits of one execute.
const (
	maxCommands = 100
	// maxSelected is how many connections a filter may select, or a join or leave be for.
	maxSelected = 10_000
	// selectedAtOnce is how many connections are read at a time.
	selectedAtOnce = 500
)

// The types of commands.
const (
	commandSend  = "SendMessage"
	commandJoin  = "JoinGroup"
	commandLeave = "LeaveGroup"
	commandClose = "CloseConnection"
)

// command is what is done with every selected connection.
type command struct {
	kind  string
	group string
	entry streams.Entry // that is sent, without its audience
}

// execute does Azure's commands, each after those before it, with all connections that a filter selects, of those that are there when it
// is asked. Without a filter sends and closes are for all. Nothing is done if one of the commands is bad.
func (h *Handler) execute(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	if err := checkContentType(c.Request().Header); err != nil {
		return err
	}
	filter, err := filterOf(c)
	if err != nil {
		return err
	}
	mayGoOn, err := h.mayGoOn(c)
	if err != nil {
		return err
	}
	w := sendWorks.Get().(*sendWork)
	defer w.release()
	if err := w.read(c, &h.bodies, h.maxSendBytes); err != nil {
		return err
	}
	commands, err := commandsOf(w.raw)
	if err != nil {
		return err
	}
	for range commands {
		if err := mayGoOn(); err != nil {
			return err
		}
	}
	ctx := c.Request().Context()
	e := execution{s: s, hub: hub, all: filter == nil}
	if filter != nil || slices.ContainsFunc(commands, func(c command) bool { return c.group != "" }) {
		if err := e.choose(ctx, filter); err != nil {
			return err
		}
	}
	for i := range commands {
		if err := e.do(ctx, &commands[i]); err != nil {
			return err
		}
	}
	return c.NoContent(http.StatusAccepted)
}

func filterOf(c echo.Context) (*connectionFilter, error) {
	text := c.QueryParam("filter")
	if text == "" {
		return nil, nil
	}
	filter, err := parseFilter(text)
	if err != nil {
		return nil, invalid("filter", err.Error())
	}
	return filter, nil
}

// commandsOf reads and checks an array of commands.
func commandsOf(raw []byte) ([]command, error) {
	items, err := splitArray(raw)
	switch {
	case err != nil:
		return nil, err
	case len(items) == 0 || len(items) > maxCommands:
		return nil, malformed(fmt.Sprintf("the body must have 1 to %d commands", maxCommands))
	}
	commands := make([]command, len(items))
	for i, item := range items {
		if err := commands[i].read(item); err != nil {
			var refused *refusal
			if errors.As(err, &refused) {
				refused.Target = strings.TrimSuffix(fmt.Sprintf("[%d].%s", i, refused.Target), ".")
				refused.Message = fmt.Sprintf("command %d: %s", i, refused.Message)
			}
			return nil, err
		}
	}
	return commands, nil
}

func (c *command) read(raw []byte) error {
	var fields *struct {
		Type, Group, Reason string
		Message             json.RawMessage
	}
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return malformed("it must be an object with type, and message, group or reason")
	}
	c.kind = fields.Type
	switch c.kind {
	case commandSend:
		w := sendWork{raw: fields.Message}
		if err := w.readMessage(""); err != nil {
			return err
		}
		c.entry = streams.Entry{Kind: streams.KindMessage, Body: w.message}
	case commandJoin, commandLeave:
		if reason := badName(fieldGroups, []byte(fields.Group)); reason != "" {
			return invalid("group", reason)
		}
		c.group = fields.Group
	case commandClose:
		if err := checkReason(fields.Reason); err != nil {
			return err
		}
		c.entry = streams.Entry{Kind: streams.KindClose, Flags: streams.FlagReconnect, Body: []byte(fields.Reason)}
	default:
		return invalid("type", "must be "+strings.Join([]string{commandSend, commandJoin, commandLeave, commandClose}, ", "))
	}
	return nil
}

// execution is commands at work.
type execution struct {
	s        *Services
	hub      string
	all      bool     // there is no filter
	selected []string // connection IDs
}

// choose finds the connections that the filter selects; nil selects all.
func (e *execution) choose(ctx context.Context, filter *connectionFilter) error {
	seen := map[string]bool{}
	for cursor := ""; ; {
		page, err := e.s.Streams.Connections(ctx, e.hub, cursor, selectedAtOnce)
		if err != nil {
			return err
		}
		for i := range page.Records {
			r := &page.Records[i]
			if !seen[r.ID] && (filter == nil || filter.selects(r)) { // one may be on several pages
				seen[r.ID] = true
				e.selected = append(e.selected, r.ID)
			}
		}
		if len(e.selected) > maxSelected {
			return tooLarge(fmt.Sprintf("more than %d connections are selected, which is the limit; nothing was done", maxSelected))
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}

func (e *execution) do(ctx context.Context, c *command) error {
	if c.group != "" {
		return e.member(ctx, c)
	}
	if e.all {
		entry := c.entry
		entry.Flags |= streams.FlagAll
		_, err := e.s.Streams.Publish(ctx, e.hub, &entry)
		return err
	}
	for ids := range slices.Chunk(e.selected, streams.MaxTargets) {
		entry := c.entry
		entry.Connections = ids
		if _, err := e.s.Streams.Publish(ctx, e.hub, &entry); err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) member(ctx context.Context, c *command) error {
	verb := streams.VerbJoin
	if c.kind == commandLeave {
		verb = streams.VerbLeave
	}
	for _, id := range e.selected {
		if _, err := e.s.Streams.Join(ctx, e.hub, id, verb, c.group); err != nil && !errors.Is(err, streams.ErrGone) {
			return err
		}
	}
	return nil
}
