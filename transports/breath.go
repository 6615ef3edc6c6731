package transports

import (
	"os"
	"runtime"
)

// breath is how a writer lets others run, and what waits at the network get in: requests, acknowledgements, Valkey's replies. The runtime looks
// at the network when nothing else can run, or when nobody has looked for 10 ms; runtime.Gosched leaves the writer runnable, so that while
// all processors' writers write nothing would be read for so long. A writer that takes breath waits for a byte of its own to come
// through a pipe that the runtime watches as it does sockets. The zero value is ready.
type breath struct {
	in, out *os.File // nil before the first
	came    chan struct{}
}

// open returns false where no pipe can be had.
func (b *breath) open() bool {
	if b.in != nil {
		return true
	}
	out, in, err := os.Pipe()
	if err != nil {
		return false
	}
	b.in, b.out, b.came = in, out, make(chan struct{})
	go b.read()
	return true
}

func (b *breath) read() {
	defer close(b.came)
	for buf := make([]byte, 1); ; {
		if _, err := b.out.Read(buf); err != nil {
			return
		}
		b.came <- struct{}{}
	}
}

var aByte = []byte{0}

func (b *breath) take() {
	if b.open() {
		if _, err := b.in.Write(aByte); err == nil {
			if _, ok := <-b.came; ok {
				return
			}
		}
	}
	runtime.Gosched()
}

// close ends the reading, and waits for that.
func (b *breath) close() {
	if b.in != nil {
		b.in.Close()
		<-b.came
		b.out.Close()
	}
}
