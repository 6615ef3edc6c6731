package handlers

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// resultTimeout is how long a backend that streams operations may let the results of some wait.
const resultTimeout = 30 * time.Second

// batchStream makes the operations of lines as they come, and answers each with a line. It reads on only when the results of what it has
// read are written: a backend that sends faster than the hub's log takes it is held up, and nothing piles up here.
func (h *Handler) batchStream(c echo.Context, b *batchWork) error {
	if err := h.bodies.take(h.maxSendBytes); err != nil {
		return err
	}
	defer h.bodies.give(h.maxSendBytes)
	control := http.NewResponseController(c.Response().Writer)
	_ = control.EnableFullDuplex() // HTTP/2 always is; without, in tests, the results come after the last line
	c.Response().Header().Set("Content-Type", "application/x-ndjson")
	c.Response().Header().Set("Cache-Control", "no-store")
	c.Response().WriteHeader(http.StatusOK)
	lines := bufio.NewReaderSize(c.Request().Body, h.maxSendBytes+len("\n"))
	defer b.release()
	for {
		_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			b.tooLong()
			err = skipLine(lines)
		} else if line = bytes.TrimSpace(line); len(line) > 0 {
			b.do(line)
		}
		if err == nil && hasLine(lines) && len(b.results) < publishedAtOnce {
			continue // it is there already
		}
		b.flush()
		if wrote := b.write(c, control); wrote != nil || err != nil {
			return nil // the end, or a backend that is gone; what was answered is done
		}
	}
}

func (b *batchWork) tooLong() {
	b.results = append(b.results, nil)
	b.refuse(len(b.results)-1, tooLarge(fmt.Sprintf("the line exceeds %d bytes, which is the limit", b.h.maxSendBytes)))
}

// skipLine reads over the rest of a line.
func skipLine(lines *bufio.Reader) error {
	for {
		_, err := lines.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// hasLine tells whether a whole line can be had without waiting for one.
func hasLine(lines *bufio.Reader) bool {
	ready, _ := lines.Peek(lines.Buffered())
	return bytes.IndexByte(ready, '\n') >= 0
}

// write sends the results so far.
func (b *batchWork) write(c echo.Context, control *http.ResponseController) error {
	if len(b.results) == 0 {
		return nil
	}
	_ = control.SetWriteDeadline(time.Now().Add(resultTimeout))
	var answer []byte
	for _, result := range b.results {
		answer = append(append(answer, result...), '\n')
	}
	b.results = b.results[:0]
	if _, err := c.Response().Write(answer); err != nil {
		return err
	}
	if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
