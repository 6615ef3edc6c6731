package hubprotocol

// maxDepth is how deep objects and arrays may lie in each other, the message itself counted: System.Text.Json in .NET clients
// and servers reads no deeper by default.
const maxDepth = 64

// scanner walks over JSON once, byte by byte, and checks it without building values. The zero value with src set accepts all
// that RFC 8259 does, in valid UTF-8 and no deeper than maxDepth.
type scanner struct {
	src   []byte
	pos   int
	depth int

	// strict also refuses what some protocol or client cannot carry: integers beyond 64 bits, numbers beyond float64, lone
	// surrogates, keys that an object has twice.
	strict bool

	// compact copies to dst all but the white space. src is in dst up to copied.
	compact bool
	dst     []byte
	copied  int

	keys keyStack // strict only
}

// value reads one value of any kind, with no white space before it.
func (s *scanner) value() *MessageError {
	switch c := s.peek(); c {
	case '"':
		_, err := s.string()
		return err
	case '{':
		return s.object()
	case '[':
		return s.array()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		return s.number()
	}
}

func (s *scanner) array() *MessageError {
	if err := s.enter(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		s.space()
		if i == 0 && s.peek() == ']' {
			break
		}
		if err := s.value(); err != nil {
			return err.inElement(i)
		}
		s.space()
		if s.peek() == ']' {
			break
		}
		if s.peek() != ',' {
			return s.unexpected()
		}
		s.pos++
	}
	s.leave()
	return nil
}

func (s *scanner) object() *MessageError {
	if err := s.enter(); err != nil {
		return err
	}
	keys := s.keys.begin()
	for first := true; ; first = false {
		key, ok, err := s.key(&keys, first)
		if err != nil || !ok {
			return err
		}
		if err := s.value(); err != nil {
			return err.inMember(s.src[key.start:key.end])
		}
	}
}

// key reads up to the value of an object's next member; ok is false at the object's end.
func (s *scanner) key(keys *objectKeys, first bool) (key keySpan, ok bool, err *MessageError) {
	s.space()
	if s.peek() == '}' {
		s.keys.end(keys)
		s.leave()
		return key, false, nil
	}
	if !first {
		if s.peek() != ',' {
			return key, false, s.unexpected()
		}
		s.pos++
		s.space()
	}
	if s.peek() != '"' {
		return key, false, s.unexpected()
	}
	if key, err = s.string(); err != nil {
		return key, false, err
	}
	if s.strict {
		if err := s.keys.add(keys, s.src, key); err != nil {
			return key, false, err
		}
	}
	s.space()
	if s.peek() != ':' {
		return key, false, s.unexpected()
	}
	s.pos++
	s.space()
	return key, true, nil
}

// eachMember reads src as one object and calls visit with each member's name, unescaped, and the text of its value.
func (s *scanner) eachMember(visit func(name, raw []byte) *MessageError) *MessageError {
	s.space()
	if s.peek() != '{' {
		return &MessageError{Reason: "expected a JSON object"}
	}
	if err := s.enter(); err != nil {
		return err
	}
	keys := s.keys.begin()
	for first := true; ; first = false {
		key, ok, err := s.key(&keys, first)
		if err != nil {
			return err
		}
		if !ok {
			return s.end()
		}
		start, name := s.pos, key.name(s.src)
		if err := s.value(); err != nil {
			return err.inMember(name)
		}
		if err := visit(name, s.src[start:s.pos:s.pos]); err != nil {
			return err
		}
	}
}

// end is for after the last value: nothing but white space may follow.
func (s *scanner) end() *MessageError {
	s.space()
	if s.pos < len(s.src) {
		return messageErrorf("trailing data at byte %d", s.pos)
	}
	return nil
}

func (s *scanner) enter() *MessageError {
	if s.depth == maxDepth {
		return messageErrorf("nested deeper than %d levels", maxDepth)
	}
	s.depth++
	s.pos++
	return nil
}

func (s *scanner) leave() {
	s.depth--
	s.pos++
}

func (s *scanner) literal(word string) *MessageError {
	for i := range len(word) {
		if s.peek() != word[i] {
			return s.unexpected()
		}
		s.pos++
	}
	return nil
}

// space skips white space. It is small so that it is inlined: compact JSON has none.
func (s *scanner) space() {
	if s.pos < len(s.src) && s.src[s.pos] <= ' ' {
		s.skipSpace()
	}
}

func (s *scanner) skipSpace() {
	start := s.pos
	for s.pos < len(s.src) && isSpace(s.src[s.pos]) {
		s.pos++
	}
	if s.compact {
		s.dst = append(s.dst, s.src[s.copied:start]...)
		s.copied = s.pos
	}
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t'
}

// peek is the next byte, or 0, which is never valid, at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

func (s *scanner) unexpected() *MessageError {
	if s.pos >= len(s.src) {
		return &MessageError{Reason: "the JSON ends too early"}
	}
	return messageErrorf("unexpected %q at byte %d", s.src[s.pos:s.pos+1], s.pos)
}
