package bench

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/tinylib/msgp/msgp"

	"hubstream/transports/hubprotocol"
)

// stamp is what every message says of itself. Its arguments are four numbers and a text that fills them up:
//
//	[51733,7,1201,3500123,"xxxxxxxx"]   run, stream, number, when it was to be sent
type stamp struct {
	run    int // several may use one hub at once
	stream int
	number uint32
	at     time.Duration // since the run's begin, in microseconds on the wire
}

// appendArguments appends a message's arguments, of size bytes if that is enough.
func (s stamp) appendArguments(dst []byte, size int) []byte {
	begin := len(dst)
	dst = append(dst, '[')
	for _, n := range [...]int64{int64(s.run), int64(s.stream), int64(s.number), s.at.Microseconds()} {
		dst = append(strconv.AppendInt(dst, n, 10), ',')
	}
	dst = append(dst, '"')
	const end = 2 // bytes
	dst = append(dst, bytes.Repeat([]byte{'x'}, max(0, size-end-(len(dst)-begin)))...)
	return append(dst, '"', ']')
}

var errStamp = errors.New("no stamp")

// readStamp reads the arguments of a message.
func readStamp(arguments []byte, p hubprotocol.Protocol) (s stamp, err error) {
	numbers := [4]int64{}
	if p == hubprotocol.MessagePack {
		_, rest, err := msgp.ReadArrayHeaderBytes(arguments)
		for i := range numbers {
			if err == nil {
				numbers[i], rest, err = msgp.ReadInt64Bytes(rest)
			}
		}
		if err != nil {
			return s, errStamp
		}
	} else {
		rest := bytes.TrimPrefix(arguments, []byte{'['})
		for i := range numbers {
			var digits []byte
			digits, rest, _ = bytes.Cut(rest, []byte{','})
			if numbers[i], err = strconv.ParseInt(string(digits), 10, 64); err != nil {
				return s, errStamp
			}
		}
	}
	return stamp{int(numbers[0]), int(numbers[1]), uint32(numbers[2]), time.Duration(numbers[3]) * time.Microsecond}, nil
}
