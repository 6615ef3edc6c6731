package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"hubstream/negotiate"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// bodyTimeout is how long the body of a send may take to arrive: without it a backend that stops in the middle holds a
// connection for good.
const bodyTimeout = 30 * time.Second

// send publishes one message of a backend. Its answer means that the hub's log has it.
func (h *Handler) send(c echo.Context, s *Services) error {
	hub, err := hubOf(c)
	if err != nil {
		return err
	}
	if err := checkContentType(c.Request().Header); err != nil {
		return err
	}
	w := sendWorks.Get().(*sendWork)
	defer w.release()
	if err := w.read(c, &h.bodies, h.maxSendBytes); err != nil {
		return err
	}
	if err := w.build(s.Keyring); err != nil {
		return err
	}
	return w.publish(c, s, hub, false)
}

// publish appends the entry and answers. A key stands for what was sent: for the body, and with addressed for the whole
// entry, as the body does not tell the audience.
func (w *sendWork) publish(c echo.Context, s *Services, hub string, addressed bool) error {
	key, err := w.key(c.Request().Header)
	if err != nil {
		return err
	}
	receipt, replayed, err := w.append(c.Request().Context(), s, hub, key, addressed)
	if err != nil {
		return err
	}
	return w.accepted(c, receipt, replayed)
}

// accepted answers where the entry is.
func (w *sendWork) accepted(c echo.Context, receipt streams.Receipt, replayed bool) error {
	c.Response().Header()["Content-Type"] = jsonType
	c.Response().WriteHeader(http.StatusAccepted)
	_, _ = c.Response().Write(w.answer(receipt, replayed))
	return nil
}

func (w *sendWork) append(ctx context.Context, s *Services, hub, key string, addressed bool) (r streams.Receipt, replayed bool, err error) {
	sum := ""
	if key != "" { // before the entry has a trace context: a repeated send has another
		sum = w.sum(addressed)
	}
	end := s.traceAppend(ctx, hub, &w.entry)
	if key == "" {
		r, err = s.Streams.Publish(ctx, hub, &w.entry)
	} else {
		r, replayed, err = s.Streams.PublishOnce(ctx, hub, key, sum, keepKeys, &w.entry)
	}
	if end != nil {
		end(r, err)
	}
	return r, replayed, err
}

// sum stands for what was sent.
func (w *sendWork) sum(addressed bool) string {
	if addressed {
		return sumOf(streams.AppendEntry(nil, &w.entry))
	}
	return sumOf(w.raw)
}

// checkContentEncoding refuses a body that is said to be compressed: it would be called bad JSON, which it is not.
func checkContentEncoding(header http.Header) error {
	for _, encoding := range header["Content-Encoding"] {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return &refusal{status: http.StatusUnsupportedMediaType, Code: codeMediaType, Target: "Content-Encoding",
				Message: "a body with a Content-Encoding is not taken: send it as it is"}
		}
	}
	return nil
}

// checkContentType refuses what is said to be something else than JSON.
func checkContentType(header http.Header) error {
	types := header["Content-Type"]
	if len(types) == 0 || types[0] == "application/json" {
		return nil
	}
	if mediaType, _, err := mime.ParseMediaType(types[0]); err == nil && mediaType == "application/json" {
		return nil
	}
	return &refusal{status: http.StatusUnsupportedMediaType, Code: codeMediaType,
		Message: "the Content-Type must be application/json"}
}

// sendWork is the memory that one send needs, used again for the next.
type sendWork struct {
	raw     []byte  // what was received
	bodies  *bodies // where it counts; nil: it was not received by itself
	counted int     // of its bytes
	body    sendBody
	message []byte
	entry   streams.Entry
}

var sendWorks = sync.Pool{New: func() any { return new(sendWork) }}

// maxKeptBytes is the most that a sendWork keeps for the next send: usual ones are small.
const maxKeptBytes = 64 << 10 // 64 KiB

func (w *sendWork) release() {
	if w.bodies != nil {
		w.bodies.give(w.counted)
		w.bodies, w.counted = nil, 0
	}
	if cap(w.raw)+cap(w.message)+cap(w.body.names) <= maxKeptBytes {
		sendWorks.Put(w)
	}
}

// firstRead is room for usual bodies whose length is not known.
const firstRead = 4 << 10 // 4 KiB

// read reads a request's body, which counts among b until release.
func (w *sendWork) read(c echo.Context, b *bodies, limit int) error {
	r := c.Request()
	if err := checkContentEncoding(r.Header); err != nil {
		return err
	}
	// A writer that has no deadlines, as in tests, does without.
	_ = http.NewResponseController(c.Response().Writer).SetReadDeadline(time.Now().Add(bodyTimeout))
	if r.ContentLength > int64(limit) {
		return refuseBody(r, limit)
	}
	w.raw, w.bodies = w.raw[:0], b
	need := firstRead
	if r.ContentLength >= 0 {
		need = int(r.ContentLength) + 1 // and one more to see the end
	}
	for {
		if need > w.counted {
			if err := b.take(need - w.counted); err != nil {
				return err
			}
			w.counted = need
		}
		if cap(w.raw) < need {
			w.raw = append(make([]byte, 0, need), w.raw...)
		}
		n, err := r.Body.Read(w.raw[len(w.raw):cap(w.raw)])
		w.raw = w.raw[:len(w.raw)+n]
		switch {
		case len(w.raw) > limit:
			return refuseBody(r, limit)
		case err == io.EOF:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &refusal{status: http.StatusRequestTimeout, Code: codeTimeout,
				Message: fmt.Sprintf("the body did not arrive within %v", bodyTimeout)}
		case err != nil:
			return malformed("the body could not be read")
		}
		if len(w.raw) == cap(w.raw) {
			need = 2 * cap(w.raw)
		}
	}
}

// maxDrainedBytes is how much of a body that is too large is read all the same: a backend that still writes when the
// connection is closed sees a broken connection, and not the answer that says why.
const maxDrainedBytes = 8 << 20 // 8 MiB

func refuseBody(r *http.Request, limit int) error {
	if r.ContentLength <= maxDrainedBytes && r.Header.Get("Expect") == "" { // who expects an answer first has written nothing yet
		_, _ = io.CopyN(io.Discard, r.Body, maxDrainedBytes)
	}
	return tooLarge(fmt.Sprintf("the body exceeds %d bytes, which is the limit", limit))
}

// build makes the entry from the body. It refers to the work's memory, until release.
func (w *sendWork) build(keyring *negotiate.Keyring) error {
	b := &w.body
	if err := b.parse(w.raw); err != nil {
		return err
	}
	for _, f := range [...]sendField{fieldConnections, fieldExcluded} {
		if err := resolve(keyring, f, b.lists[f]); err != nil {
			return err
		}
	}
	var err error
	if w.message, err = hubprotocol.AppendInvocation(w.message[:0], b.target, b.arguments); err != nil {
		return refuseMessage(err)
	}
	w.entry = streams.Entry{
		Kind: streams.KindMessage, Body: w.message,
		Groups: b.lists[fieldGroups], Users: b.lists[fieldUsers],
		Connections: b.lists[fieldConnections], Excluded: b.lists[fieldExcluded],
	}
	if b.toAll() {
		w.entry.Flags = streams.FlagAll
	}
	return nil
}

// resolve puts connection IDs in the place of the connection tokens that clients of negotiate version 0 know instead.
func resolve(keyring *negotiate.Keyring, f sendField, names []string) error {
	for i, name := range names {
		names[i] = keyring.ConnectionID(name)
		if size := len(names[i]); size > streams.MaxIDBytes {
			return invalid(place(f, i), overLimit(size))
		}
	}
	return nil
}

// refuseMessage says which argument cannot be sent, and why.
func refuseMessage(err error) error {
	var message *hubprotocol.MessageError
	if !errors.As(err, &message) {
		return err
	}
	if message.Field == "" {
		return malformed(strings.TrimSuffix(message.Reason, "."))
	}
	return &refusal{status: http.StatusBadRequest, Code: codeInvalid, Target: message.Field, Message: message.Error()}
}

// answer is what an accepted send is told. It takes the memory of what was received.
func (w *sendWork) answer(r streams.Receipt, replayed bool) []byte {
	w.raw = append(w.raw[:0], `{"position":"`...)
	w.raw = append(w.raw, r.Gen...)
	w.raw = append(w.raw, '.')
	w.raw = r.Position.Append(w.raw)
	if replayed {
		return append(w.raw, `","replayed":true}`...)
	}
	return append(w.raw, `"}`...)
}
