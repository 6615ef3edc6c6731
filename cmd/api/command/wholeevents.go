package command

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// wholeEvents reads an event stream, and returns nothing of an event whose end does not come: the client would take what there is of it
// for all of it.
type wholeEvents struct {
	io.Closer
	in    *bufio.Reader
	event []byte // as far as it has come
	whole []byte // is returned next
}

func newWholeEvents(stream io.ReadCloser) *wholeEvents {
	return &wholeEvents{Closer: stream, in: bufio.NewReader(stream)}
}

func (e *wholeEvents) Read(b []byte) (int, error) {
	for len(e.whole) == 0 {
		piece, err := e.in.ReadSlice('\n')
		if e.event = append(e.event, piece...); len(e.event) > maxLine {
			return 0, fmt.Errorf("an event is longer than %d bytes", maxLine)
		}
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil:
			return 0, err
		case bytes.HasSuffix(e.event, []byte("\n\r\n")):
			e.event, e.whole = nil, e.event
		}
	}
	n := copy(b, e.whole)
	e.whole = e.whole[n:]
	return n, nil
}
