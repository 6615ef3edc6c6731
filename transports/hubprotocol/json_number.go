package hubprotocol

import (
	"math"
	"strconv"
)

// number reads a number, the only kind of value left for what begins with anything else.
func (s *scanner) number() *MessageError {
	start, whole, exponent := s.pos, true, false
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.unexpected()
	}
	if s.peek() == '.' {
		whole = false
		s.pos++
		if !s.digits() {
			return s.unexpected()
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		whole, exponent = false, true
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.unexpected()
		}
	}
	const surelyFits = 18 // characters, without exponent
	if s.strict && (exponent || s.pos-start > surelyFits) {
		return checkNumber(s.src[start:s.pos], whole)
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.src) && s.src[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}

// checkNumber refuses numbers that MessagePack, or a float64, cannot hold.
func checkNumber(literal []byte, whole bool) *MessageError {
	if whole {
		if _, _, ok := parseInteger(literal); !ok {
			return messageErrorf("integer %s is beyond 64 bits", clip(literal))
		}
		return nil
	}
	if _, err := strconv.ParseFloat(string(literal), 64); err != nil {
		return messageErrorf("number %s is beyond float64", clip(literal))
	}
	return nil
}

// isInteger tells for a valid JSON number whether it is written without fraction and exponent.
func isInteger(literal []byte) bool {
	for _, c := range literal {
		if c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}

// isNumber tells whether a valid JSON value is a number.
func isNumber(raw []byte) bool { return raw[0] == '-' || raw[0]-'0' <= 9 }

// parseInteger reads a valid JSON number that isInteger; ok is false if it fits neither int64 nor uint64.
func parseInteger(literal []byte) (magnitude uint64, negative, ok bool) {
	if literal[0] == '-' {
		negative, literal = true, literal[1:]
	}
	if len(literal) > len("18446744073709551615") {
		return 0, false, false
	}
	for _, c := range literal {
		digit := uint64(c - '0')
		if magnitude > (math.MaxUint64-digit)/10 {
			return 0, false, false
		}
		magnitude = magnitude*10 + digit
	}
	if negative && magnitude > 1<<63 {
		return 0, false, false
	}
	return magnitude, negative, true
}

// smallInteger reads any JSON value as an int32.
func smallInteger(raw []byte) (value int, ok bool) {
	if !isNumber(raw) || !isInteger(raw) {
		return 0, false
	}
	magnitude, negative, ok := parseInteger(raw)
	if !ok || magnitude > math.MaxInt32 {
		return 0, false
	}
	if negative {
		return -int(magnitude), true
	}
	return int(magnitude), true
}
