package handlers

import (
	"crypto/sha256"
	"net/http"
	"time"

	"hubstream/streams"
)

// keyHeader makes a send safe to repeat: the same key with the same body is sent once.
const keyHeader = "Idempotency-Key"

// keepKeys is how long keys are remembered: long enough for any backend's retries, short enough for Valkey's memory.
const keepKeys = 10 * time.Minute

// key returns the idempotency key of a send, from the header or from the body; empty if it has none.
func (w *sendWork) key(header http.Header) (string, error) {
	values := header[keyHeader]
	if len(values) == 0 {
		return w.body.id, nil
	}
	key := values[0]
	switch {
	case len(values) > 1 || w.body.has(fieldID) && w.body.id != key:
		return "", invalid(keyHeader, "is given more than once, with different values")
	case key == "":
		return "", invalid(keyHeader, "must not be empty")
	case len(key) > streams.MaxIDBytes:
		return "", invalid(keyHeader, overLimit(len(key)))
	}
	return key, nil
}

// sumOf tells bodies apart. Half of the hash is enough for that, and Valkey keeps it with each key.
func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return string(sum[:sha256.Size/2])
}
