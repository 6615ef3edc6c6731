package hubprotocol

import "bytes"

// keySpan is where a key lies in the scanner's source, between the quotes.
type keySpan struct {
	start, end uint32
	escaped    bool
}

// name is the key unescaped; it allocates only if the key has escapes.
func (k keySpan) name(src []byte) []byte {
	raw := src[k.start:k.end]
	if !k.escaped {
		return raw
	}
	return appendUnescaped(nil, raw)
}

// keyStack remembers the keys of all objects that are open, innermost last, to find a key that an object has twice: JSON
// clients would take one of the values, MessagePack clients may refuse the message. It needs no memory beyond itself unless an
// object is large.
type keyStack struct {
	keys [32]keySpan
	n    int
}

// objectKeys are the keys of one open object: those on the stack from base on, or once that is full all in many.
type objectKeys struct {
	base int
	many map[string]struct{}
}

func (k *keyStack) begin() objectKeys {
	return objectKeys{base: k.n}
}

func (k *keyStack) end(o *objectKeys) {
	k.n = o.base
}

// protoKey is refused by the MessagePack decoder of JavaScript clients, which would close the connection.
const protoKey = "__proto__"

func (k *keyStack) add(o *objectKeys, src []byte, key keySpan) *MessageError {
	if key.escaped || key.end-key.start == uint32(len(protoKey)) {
		if string(key.name(src)) == protoKey {
			return messageErrorf("the key %s is refused by JavaScript clients", protoKey)
		}
	}
	if k.has(o, src, key) {
		return messageErrorf("duplicate key %q", clip(src[key.start:key.end]))
	}
	if o.many == nil && k.n < len(k.keys) {
		k.keys[k.n] = key
		k.n++
		return nil
	}
	if o.many == nil {
		o.many = make(map[string]struct{}, 2*len(k.keys))
		for _, earlier := range k.keys[o.base:k.n] {
			o.many[string(earlier.name(src))] = struct{}{}
		}
		k.n = o.base
	}
	o.many[string(key.name(src))] = struct{}{}
	return nil
}

func (k *keyStack) has(o *objectKeys, src []byte, key keySpan) bool {
	if o.many != nil {
		_, found := o.many[string(key.name(src))]
		return found
	}
	length := key.end - key.start
	for i := o.base; i < k.n; i++ {
		earlier := &k.keys[i]
		if !earlier.escaped && !key.escaped && earlier.end-earlier.start != length {
			continue // as most: spare the call
		}
		if bytes.Equal(earlier.name(src), key.name(src)) {
			return true
		}
	}
	return false
}
