//go:build unix

package transports

import "syscall"

// waitsForInput: connections can be waited for without a buffer.
const waitsForInput = true

// readReady reads what is there into a shared buffer. It returns false if there is nothing yet.
func (in *input) readReady(fd uintptr) bool {
	block := blocks.Get().(*[blockBytes]byte)
	n, err := syscall.Read(int(fd), block[:])
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), block[:])
	}
	if n <= 0 {
		blocks.Put(block)
		in.err = err
		return err != syscall.EAGAIN
	}
	in.block, in.unread = block, block[:n]
	return true
}
