package hubprotocol

// maxVarInt is the longest frame that can be announced: 2 GiB less one byte (HubProtocol.md, "MessagePack (MsgPack)
// encoding": the length prefix "limits the size of a single message to 2GB").
const maxVarInt = 1<<31 - 1

// readVarInt decodes the length before a MessagePack message: seven bits a byte, lowest first, the high bit set where more
// follow, five bytes at most. It returns how many bytes it took, 0 if more are needed; ok is false for a length beyond maxVarInt.
func readVarInt(b []byte) (value, n int, ok bool) {
	for i, c := range b {
		if i == 4 && c > 7 {
			return 0, 0, false
		}
		value |= int(c&0x7F) << (7 * i)
		if c < 0x80 {
			return value, i + 1, true
		}
	}
	return 0, 0, true
}

// appendVarInt encodes a length from 0 to maxVarInt.
func appendVarInt(dst []byte, value int) []byte {
	for value >= 0x80 {
		dst = append(dst, byte(value)|0x80)
		value >>= 7
	}
	return append(dst, byte(value))
}
