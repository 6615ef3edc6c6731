package transports

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/tinylib/msgp/msgp"

	"hubstream/internal/sleep"
	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

const (
	// maxItemBytes limits one item of a stream, in either direction.
	maxItemBytes = 256 << 10 // 256 KiB
	// batchItems and batchBytes limit what of a stream is put into the log at once.
	batchItems = 64
	batchBytes = 256 << 10
	// windowItems and windowBytes are how far a stream may be ahead of its client.
	windowItems = 1000
	windowBytes = 1 << 20
	// windowLook is the pause between two looks at how far the client is.
	windowLook = 200 * time.Millisecond
)

// download makes stream items of an upstream's answer, as it comes.
func (c *call) download(answer *upstream.Stream) {
	read, text := c.reader(answer)
	if text != "" {
		c.fail(text)
		return
	}
	if read == nil { // no stream, but one Completion: the upstream's error, or nothing
		body, err := io.ReadAll(io.LimitReader(answer.Body, maxCompletionBytes+1))
		if err != nil {
			c.fail(errCutOff.Error())
			return
		}
		c.finishWithout(&upstream.Answer{Status: answer.Status, ContentType: answer.ContentType, Body: body})
		return
	}
	items := make(chan []byte, batchItems)
	ended := make(chan error, 1)
	go func() {
		defer close(items)
		ended <- c.read(read, items)
	}()
	if err := c.forward(items); err != nil {
		c.stop(fmt.Sprintf("The stream was ended: %v.", err))
		for range items { // the reader ends, as what it reads from does
		}
	}
	if err := <-ended; err != nil {
		c.fail(err.Error())
		return
	}
	if failure := answer.Failure(); failure != "" {
		c.fail(clip(failure, maxFailureBytes))
		return
	}
	c.finish(hubprotocol.AppendCompletionVoid(nil, hubprotocol.JSON, c.invocationID), hubprotocol.JSON)
}

// maxFailureBytes limits an upstream's text about why it ended a stream.
const maxFailureBytes = 4 << 10

// finishWithout ends a stream that has no items. A result would be none of a stream's.
func (c *call) finishWithout(got *upstream.Answer) {
	body, p := c.w.completion(c.invocationID, got, nil)
	if m, err := hubprotocol.ParseCompletion(p, body); err == nil && m.HasResult {
		c.fail("The client attempted to invoke a non-streaming method with a streaming invocation.")
		return
	}
	c.finish(body, p)
}

// reader tells how to read items from an answer: nil if it is no stream, and a text if it is nothing that can be read.
func (c *call) reader(answer *upstream.Stream) (read func() ([]byte, error), text string) {
	media, _, _ := mime.ParseMediaType(answer.ContentType)
	in := bufio.NewReaderSize(answer.Body, 4<<10)
	switch {
	case answer.Status != http.StatusOK || media == contentJSON || media == "":
		return nil, ""
	case media == contentNDJSON:
		return func() ([]byte, error) { return readLine(in) }, ""
	case media == contentMessagePack && c.w.who.Protocol == hubprotocol.MessagePack:
		c.binary = true
		values := msgp.NewReader(in)
		return func() ([]byte, error) { return readValue(values) }, ""
	}
	return nil, fmt.Sprintf("Invocation failed: the upstream answered with the content type %q.", clip(answer.ContentType, 100))
}

// readLine returns the next line that is not empty, as JSON. io.EOF is the end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxItemBytes:
			return nil, fmt.Errorf("Invocation failed: an item is over the limit of %d bytes.", maxItemBytes)
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return nil, errCutOff
		}
		if item := bytes.TrimSpace(line); len(item) > 0 {
			return item, nil
		}
		if err == io.EOF {
			return nil, io.EOF
		}
		line = line[:0]
	}
}

// readValue returns the next MessagePack value.
func readValue(in *msgp.Reader) ([]byte, error) {
	var value limitedBuffer
	if _, err := in.NextType(); err == io.EOF {
		return nil, io.EOF
	}
	if _, err := in.CopyNext(&value); err != nil {
		if value.full {
			return nil, fmt.Errorf("Invocation failed: an item is over the limit of %d bytes.", maxItemBytes)
		}
		return nil, errCutOff
	}
	return value.bytes, nil
}

// limitedBuffer refuses to hold more than an item may have. It is no bytes.Buffer with a Write of its own: what is copied to
// one goes past that, by ReadFrom.
type limitedBuffer struct {
	bytes []byte
	full  bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if len(b.bytes)+len(p) > maxItemBytes {
		b.full = true
		return 0, io.ErrShortBuffer
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

// read reads all items and gives them on as hub messages. Nobody reads ahead of what is taken.
func (c *call) read(next func() ([]byte, error), items chan<- []byte) error {
	for {
		raw, err := next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		c.active()
		item, err := c.item(raw)
		if err != nil {
			return fmt.Errorf("Invocation failed: the upstream's item cannot be sent: %w.", err)
		}
		select {
		case items <- item:
		case <-c.ctx.Done():
			return errCutOff
		}
	}
}

// item makes a message of an item, as an entry of the log.
func (c *call) item(raw []byte) ([]byte, error) {
	body, p, err := []byte(nil), hubprotocol.JSON, error(nil)
	if c.binary {
		p = hubprotocol.MessagePack
		body, err = hubprotocol.AppendMessagePackItem(nil, c.invocationID, raw)
	} else {
		body, err = hubprotocol.AppendStreamItem(nil, c.invocationID, raw)
	}
	if err != nil {
		return nil, err
	}
	return c.w.reply(body, p, streams.FlagPaced), nil
}

// forward puts items into the log, no further ahead of the client than it may be.
func (c *call) forward(items <-chan []byte) error {
	for item := range items {
		batch, size := [][]byte{item}, len(item)
	more:
		for len(batch) < batchItems && size < batchBytes {
			select {
			case next, ok := <-items:
				if !ok {
					break more
				}
				batch, size = append(batch, next), size+len(next)
			default:
				break more
			}
		}
		reply, err := c.say(batch, false)
		if err != nil {
			return err
		}
		if reply.Ended {
			return errStopping
		}
		c.pace.add(reply.Last, len(batch), size)
		for c.pace.ahead(reply.Cursor) {
			c.active()
			if err := sleep.For(c.ctx, windowLook); err != nil {
				return err
			}
			if reply, err = c.say(nil, false); err != nil || reply.Ended {
				return errStopping
			}
		}
	}
	return nil
}

// pace knows how far a stream is ahead of its client.
type pace struct {
	sent         []sentBatch
	items, bytes int
}

type sentBatch struct {
	at           streams.Position
	items, bytes int
}

func (p *pace) add(at streams.Position, items, bytes int) {
	p.sent = append(p.sent, sentBatch{at, items, bytes})
	p.items += items
	p.bytes += bytes
}

// ahead tells whether the stream has to wait for a client that is known to be at cursor.
func (p *pace) ahead(cursor streams.Position) bool {
	for len(p.sent) > 0 && !p.sent[0].at.After(cursor) {
		p.items -= p.sent[0].items
		p.bytes -= p.sent[0].bytes
		p.sent = p.sent[1:]
	}
	return p.items > windowItems || p.bytes > windowBytes
}
