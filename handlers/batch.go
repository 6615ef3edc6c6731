package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// Limits of a batch.
const (
	maxBatchBytes = 8 << 20 // 8 MiB, of a batch that is one array
	maxBatched    = 1000    // operations of one array
	// publishedAtOnce is how many sends in a row are appended together.
	publishedAtOnce = 100
	// publishedBytes is how many bytes of them.
	publishedBytes = 1 << 20 // 1 MiB
	// acceptedBytes is room for the result of one that is accepted.
	acceptedBytes = 96
)

// batch makes many operations of a hub, one after the other: each takes effect after those before it, and none stops those after it.
// The body is a JSON array, which is answered by an array of results; or a stream of lines (NDJSON), of which each is answered
// by a line as soon as it is done.
//
//	[{"target":"m","groups":["g"]}, {"op":"join","connection":"c","group":"g"}, {"op":"close","user":"u","reason":"bye"}]
func (h *Handler) batch(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	mayGoOn, err := h.mayGoOn(c)
	if err != nil {
		return err
	}
	b := batchWork{h: h, s: s, hub: hub, ctx: c.Request().Context(), mayGoOn: mayGoOn}
	contentType := c.Request().Header.Get("Content-Type")
	if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType == "application/x-ndjson" || mediaType == "application/jsonl" {
		if err := checkContentEncoding(c.Request().Header); err != nil {
			return err
		}
		return h.batchStream(c, &b)
	}
	if err := checkContentType(c.Request().Header); err != nil {
		return err
	}
	w := sendWorks.Get().(*sendWork)
	defer w.release()
	if err := w.read(c, &h.bodies, maxBatchBytes); err != nil {
		return err
	}
	items, err := splitArray(w.raw)
	if err != nil {
		return err
	}
	b.results = make([][]byte, 0, len(items))
	for _, item := range items {
		b.do(item)
	}
	b.flush()
	defer b.release()
	c.Response().Header()["Content-Type"] = jsonType
	c.Response().WriteHeader(http.StatusOK)
	for _, part := range [...][]byte{[]byte(`{"results":[`), bytes.Join(b.results, []byte(",")), []byte("]}")} {
		_, _ = c.Response().Write(part)
	}
	return nil
}

// splitArray returns the elements of a JSON array, as parts of it.
func splitArray(raw []byte) ([][]byte, error) {
	items, err := hubprotocol.SplitArray(raw, maxBatched)
	if err == hubprotocol.ErrTooMany {
		return nil, tooLarge(fmt.Sprintf("the batch has more than %d operations, which is the limit", maxBatched))
	}
	if err != nil {
		return nil, malformed("the body is not a JSON array of operations: " + err.Error())
	}
	return items, nil
}

// batchWork makes operations. Sends in a row wait until they are appended together.
type batchWork struct {
	h   *Handler
	s   *Services
	hub string
	ctx context.Context
	// mayGoOn refuses an operation more than the backend may make in a second.
	mayGoOn func() error

	results [][]byte
	sends   []*sendWork
	keys    []string
	places  []int // of the sends in results
	bytes   int
}

// do takes one operation. Its result is there after flush.
func (b *batchWork) do(raw []byte) {
	place := len(b.results)
	b.results = append(b.results, nil)
	if len(raw) > b.h.maxSendBytes {
		b.refuse(place, tooLarge(fmt.Sprintf("the operation exceeds %d bytes, which is the limit", b.h.maxSendBytes)))
		return
	}
	if err := b.mayGoOn(); err != nil {
		b.refuse(place, err)
		return
	}
	op, err := opOf(raw)
	if err == nil && op == opSend {
		err = b.send(raw, place)
	} else if err == nil {
		b.flush() // it takes effect after those before it
		var answer any
		if answer, err = b.change(op, raw); err == nil {
			b.results[place] = resultOf(http.StatusOK, answer)
		}
	}
	if err != nil {
		b.refuse(place, err)
	}
}

func (b *batchWork) send(raw []byte, place int) error {
	w := sendWorks.Get().(*sendWork)
	w.raw = append(w.raw[:0], raw...)
	w.body.batched = true
	err := w.build(b.s.Keyring)
	w.body.batched = false
	key := w.body.id
	if err != nil {
		w.release()
		return err
	}
	b.sends, b.keys, b.places = append(b.sends, w), append(b.keys, key), append(b.places, place)
	if b.bytes += len(raw); len(b.sends) == publishedAtOnce || b.bytes >= publishedBytes {
		b.flush()
	}
	return nil
}

// flush appends the sends that wait.
func (b *batchWork) flush() {
	if len(b.sends) == 0 {
		return
	}
	entries := make([]streams.Outgoing, len(b.sends))
	for i, w := range b.sends {
		entries[i] = streams.Outgoing{Entry: &w.entry}
		if key := b.keys[i]; key != "" {
			entries[i].Key, entries[i].Sum, entries[i].Keep = key, sumOf(w.raw), keepKeys
		}
	}
	text := make([]byte, 0, acceptedBytes*len(b.sends)) // of all results
	for i, r := range b.s.Streams.PublishAll(b.ctx, b.hub, entries) {
		if place := b.places[i]; r.Err != nil {
			b.refuse(place, r.Err)
		} else {
			start := len(text)
			text = append(text, `{"status":202,`...)
			text = append(text, b.sends[i].answer(r.Receipt, r.Replayed)[1:]...)
			b.results[place] = text[start:len(text):len(text)]
		}
		b.sends[i].release()
	}
	b.sends, b.keys, b.places, b.bytes = b.sends[:0], b.keys[:0], b.places[:0], 0
}

// release gives back what a batch that ended early has not appended.
func (b *batchWork) release() {
	for _, w := range b.sends {
		w.release()
	}
	b.sends = nil
}

// refuse makes an error the result of an operation.
func (b *batchWork) refuse(place int, err error) {
	refused := refusalFor(err)
	if !hasLeft(b.ctx, refused) {
		b.h.count(refused.Code)
		if refused.status == http.StatusInternalServerError {
			b.h.log.Error("operation of a batch failed", "hub", b.hub, "error", err)
		}
	}
	b.results[place] = resultOf(refused.status, map[string]*refusal{"error": refused})
}

// resultOf is an answer with its status in it.
func resultOf(status int, answer any) []byte {
	body, _ := json.Marshal(answer) // cannot fail: strings
	if len(body) == len("{}") {
		return fmt.Appendf(nil, `{"status":%d}`, status)
	}
	return append(fmt.Appendf(nil, `{"status":%d,`, status), body[1:]...)
}

// The operations of a batch. What has none is a send.
const (
	opSend     = "send"
	opJoin     = "join"
	opLeave    = "leave"
	opLeaveAll = "leaveAll"
	opClose    = "close"
	opCloseAll = "closeAll"
)

func opOf(raw []byte) (string, error) {
	if !utf8.Valid(raw) {
		return "", malformed("the operation is not valid UTF-8")
	}
	if !bytes.Contains(raw, []byte(`"op"`)) {
		return opSend, nil // or refused as one
	}
	var named struct{ Op *string }
	if err := json.Unmarshal(raw, &named); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return "", invalid("op", "must be a string")
		}
		return "", malformed("the operation must be a JSON object")
	}
	if named.Op == nil {
		return opSend, nil
	}
	switch *named.Op {
	case opSend, opJoin, opLeave, opLeaveAll, opClose, opCloseAll:
		return *named.Op, nil
	}
	return "", invalid("op", "must be send, join, leave, leaveAll, close or closeAll")
}

// batchChange is an operation other than a send.
type batchChange struct {
	Op         string `json:"op"`
	Connection string `json:"connection"`
	User       string `json:"user"`
	Group      string `json:"group"`
	// TTL is as in joinUser.
	TTL            *int64   `json:"ttl"`
	Reason         string   `json:"reason"`
	AllowReconnect bool     `json:"allowReconnect"`
	Excluded       []string `json:"excluded"`
}

// change makes an operation other than a send.
func (b *batchWork) change(op string, raw []byte) (any, error) {
	var change batchChange
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&change); err != nil {
		return nil, refuseChange(err)
	}
	if err := change.check(op); err != nil {
		return nil, err
	}
	change.Connection = b.s.Keyring.ConnectionID(change.Connection)
	if op == opClose || op == opCloseAll {
		return struct{}{}, b.close(&change)
	}
	reply, err := b.member(op, &change)
	if err != nil {
		return nil, err
	}
	return membershipOf(b.ctx, b.s, b.hub, reply), nil
}

func refuseChange(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return invalid(wrong.Field, "must not be a "+wrong.Value)
	}
	return malformed("the operation has unknown fields, or is not JSON: " + err.Error())
}

// check refuses fields that are missing, too many, or too long.
func (c *batchChange) check(op string) error {
	given := 0
	for _, f := range [...]struct {
		sendField
		name, value string
	}{{fieldConnections, "connection", c.Connection}, {fieldUsers, "user", c.User}, {fieldGroups, "group", c.Group}} {
		if f.value == "" {
			continue
		}
		if reason := badName(f.sendField, []byte(f.value)); reason != "" {
			return invalid(f.name, reason)
		}
		given++
	}
	if len(c.Reason) > maxReasonBytes {
		return invalid("reason", fmt.Sprintf("has %d bytes, the limit is %d", len(c.Reason), maxReasonBytes))
	}
	if len(c.Excluded) > streams.MaxTargets {
		return invalid("excluded", fmt.Sprintf("has more than %d elements, which is the limit", streams.MaxTargets))
	}
	for i, id := range c.Excluded {
		if reason := badName(fieldExcluded, []byte(id)); reason != "" {
			return invalid(place(fieldExcluded, i), reason)
		}
	}
	if c.TTL != nil && (op != opJoin || c.User == "" || *c.TTL < 0 || *c.TTL > math.MaxInt32) {
		return invalid("ttl", "must be a number from 0 to 2147483647, and is for the join of a user")
	}
	switch op {
	case opJoin, opLeave:
		if c.Group == "" {
			return invalid("group", "is missing")
		}
		given--
	case opCloseAll:
		if given > 0 {
			return invalid("op", "names whom to close: that is close")
		}
		return nil
	case opLeaveAll:
		if c.Group != "" {
			return invalid("group", "must not be given")
		}
	}
	if given != 1 {
		return invalid("connection", "must be given, or in its place a user, or for close a group")
	}
	return nil
}

func (b *batchWork) member(op string, c *batchChange) (streams.JoinReply, error) {
	node := b.s.Streams
	if c.User == "" {
		verbs := map[string]streams.Verb{opJoin: streams.VerbJoin, opLeave: streams.VerbLeave, opLeaveAll: streams.VerbLeaveAll}
		if op == opLeaveAll {
			return node.Join(b.ctx, b.hub, c.Connection, verbs[op])
		}
		return node.Join(b.ctx, b.hub, c.Connection, verbs[op], c.Group)
	}
	switch op {
	case opLeave:
		return node.LeaveUser(b.ctx, b.hub, c.User, c.Group)
	case opLeaveAll:
		return node.LeaveUserAll(b.ctx, b.hub, c.User)
	}
	if c.TTL != nil && *c.TTL == 0 {
		return node.JoinUserNow(b.ctx, b.hub, c.User, c.Group)
	}
	keep := time.Duration(0)
	if c.TTL != nil {
		keep = time.Duration(*c.TTL) * time.Second
	}
	return node.JoinUser(b.ctx, b.hub, c.User, c.Group, keep)
}

func (b *batchWork) close(c *batchChange) error {
	if c.Connection != "" {
		_, err := b.s.Streams.CloseConnection(b.ctx, b.hub, c.Connection, c.Reason, c.AllowReconnect)
		return err
	}
	e := streams.Entry{Kind: streams.KindClose, Body: []byte(c.Reason), Excluded: c.Excluded}
	if c.AllowReconnect {
		e.Flags |= streams.FlagReconnect
	}
	switch {
	case c.User != "":
		e.Users = []string{c.User}
	case c.Group != "":
		e.Groups = []string{c.Group}
	default:
		e.Flags |= streams.FlagAll
	}
	if err := resolve(b.s.Keyring, fieldExcluded, e.Excluded); err != nil {
		return err
	}
	_, err := b.s.Streams.Publish(b.ctx, b.hub, &e)
	return err
}
