package hubprotocol

import "errors"

// ErrTooMany is SplitArray's of an array of more elements than it was to return.
var ErrTooMany = errors.New("too many elements")

// maxListDepth is how deep the elements of SplitArray may nest: what is too deep for a message is for who reads the element to say.
const maxListDepth = 10_000

// SplitArray returns the elements of a JSON array (RFC 8259, section 5), at most so many, as parts of it, without the white space around
// them. All of it is checked as the zero scanner does. The error is ErrTooMany, and what follows was not checked then, or a *MessageError.
func SplitArray(array []byte, most int) (elements [][]byte, err error) {
	s := scanner{src: array, depth: maxDepth - maxListDepth}
	s.space()
	if s.peek() != '[' {
		return nil, &MessageError{Reason: "expected a JSON array"}
	}
	s.pos++
	for {
		s.space()
		if len(elements) == 0 && s.peek() == ']' {
			break
		}
		if len(elements) == most {
			return nil, ErrTooMany
		}
		start := s.pos
		if err := s.value(); err != nil {
			return nil, err.inElement(len(elements))
		}
		elements = append(elements, array[start:s.pos:s.pos])
		if s.space(); s.peek() == ']' {
			break
		}
		if s.peek() != ',' {
			return nil, s.unexpected()
		}
		s.pos++
	}
	s.pos++
	if err := s.end(); err != nil {
		return nil, err
	}
	return elements, nil
}
