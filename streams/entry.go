package streams

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
	"unsafe"
)

// Kind is what an entry means.
type Kind uint8

const (
	// KindMessage is a hub message for an audience.
	KindMessage Kind = 1
	// KindControl changes memberships: Verb says how, Named says which groups, the
	// audience (connections, users) says whose.
	KindControl Kind = 2
	// KindClose closes the connections of its audience. Its body is the reason.
	KindClose Kind = 3
	// KindReply is for one connection: the handshake's answer where the answer must
	// travel through the log, or a completion.
	KindReply Kind = 4
	// KindResult is a client's Completion of the call Named[0], which a node has made and waits for. Protocol is the
	// body's.
	KindResult Kind = 5
	// KindMoved says that Owner now serves the connection of the audience; whoever
	// served it before drops it.
	KindMoved Kind = 6
	// KindBlank says nothing, and is for nobody; see blank.go. Earlier versions told each other with it that what a client had sent was done.
	KindBlank Kind = 7
	// KindGen says that the log has a new generation (Owner holds it).
	KindGen Kind = 8
	// KindWork tells the worker that has the connection's work that there is more of it, or with FlagFree any worker that
	// it is free. See Work.
	KindWork Kind = 9
)

// Flags refine a kind.
type Flags uint8

const (
	// FlagAll: the audience is every connection of the hub.
	FlagAll Flags = 1 << iota
	// FlagHandshake: a reply that is the handshake's answer; Protocol and Version hold.
	FlagHandshake
	// FlagFinal: nothing follows this reply, the connection is over (a refused handshake).
	FlagFinal
	// FlagReconnect: a close that allows the client to reconnect.
	FlagReconnect
	// FlagEnded: a close that only tells that the connection has ended already; its
	// client is sent nothing more.
	FlagEnded
	// FlagLost: a gen entry that says that the log's tail was lost (Named[0] holds the
	// newest position that is left).
	FlagLost
	// FlagPaced: a reply of a call that waits for its client to keep up.
	FlagPaced
	// FlagFree: work that no worker has.
	FlagFree
)

// Verb says what a control entry does.
type Verb uint8

const (
	// VerbJoin adds the audience to the named groups.
	VerbJoin Verb = 1
	// VerbLeave removes the audience from the named groups.
	VerbLeave Verb = 2
	// VerbLeaveAll removes the audience from every group.
	VerbLeaveAll Verb = 3
	// VerbRenew lets the audience stay longer: Named[0] is until when. It changes no membership.
	VerbRenew Verb = 4
)

// Entry is one entry of a hub's log. Its audience is the union of Groups, Users
// and Connections (or everybody, with FlagAll), without Excluded.
type Entry struct {
	Kind  Kind
	Flags Flags
	// Verb holds for KindControl.
	Verb Verb
	// Protocol and Version hold with FlagHandshake: numbers of the hub protocol, opaque here. Of any other reply,
	// and of a result, Protocol is that of the body; 0: JSON.
	Protocol, Version uint8

	Groups, Users, Connections []string
	// Excluded are connection IDs that the entry is not for.
	Excluded []string
	// Named are the groups of a control entry, or the user that a handshake's answer has made the connection's.
	Named []string
	// Owner holds for KindMoved and KindGen. A message has its trace context here; see Trace.
	Owner string

	// Body is opaque: for KindMessage and KindReply a complete hub message, in JSON unless Protocol says otherwise.
	Body []byte

	sets *nameSets // nil: the lists are short
}

// Trace is the trace context that a message carries: the traceparent (W3C Trace Context) of the span of its append, or
// empty if that is not recorded. It is where other kinds have their owner: a field that every version reads and, of a
// message, looks no further at, so that traces need no new format.
func (e *Entry) Trace() string {
	if e.Kind != KindMessage {
		return ""
	}
	return e.Owner
}

// SetTrace makes a message carry a trace context.
func (e *Entry) SetTrace(traceparent string) { e.Owner = traceparent }

// EntryFormat is the version of the entry's encoding, its first byte.
const EntryFormat = 1

// Limits of an entry.
const (
	// MaxEntryBytes limits an encoded entry: 1 MiB of body and 256 KiB of audience.
	MaxEntryBytes = 1<<20 + 256<<10
	// MaxTargets limits each list of an audience.
	MaxTargets = 1000
	// MaxNameLength limits the name of a group or user, in characters, as Azure does.
	MaxNameLength = 1024
	// MaxNameBytes is the most bytes that such a name has.
	MaxNameBytes = utf8.UTFMax * MaxNameLength
	// MaxIDBytes limits a connection ID, and other names that are not of groups or users.
	MaxIDBytes = 256
)

// NameTooLong tells whether the name of a group or user is over MaxNameLength.
func NameTooLong[T string | []byte](name T) bool {
	return len(name) > MaxNameLength && utf8.RuneCountInString(string(name)) > MaxNameLength
}

// ErrEntry says that bytes are not an entry of a known format. Wrapped, with the reason.
var ErrEntry = errors.New("malformed entry")

// ErrEntryFormat says that an entry was written by a newer version.
var ErrEntryFormat = errors.New("unknown entry format")

// AppendEntry appends the encoding of e to dst.
//
//	format kind flags verb protocol version   one byte each
//	header length                             uvarint, bytes from here to the body
//	groups users connections excluded named   each: uvarint count, then (uvarint length, bytes)
//	owner, or trace context                   uvarint length, bytes
//	body                                      the rest
func AppendEntry(dst []byte, e *Entry) []byte {
	lists := [...][]string{e.Groups, e.Users, e.Connections, e.Excluded, e.Named}
	size := stringSize(e.Owner)
	for _, list := range lists {
		size += uvarintSize(uint64(len(list)))
		for _, s := range list {
			size += stringSize(s)
		}
	}
	dst = slices.Grow(dst, fixedHeader+uvarintSize(uint64(size))+size+len(e.Body))
	dst = append(dst, EntryFormat, byte(e.Kind), byte(e.Flags), byte(e.Verb), e.Protocol, e.Version)
	dst = binary.AppendUvarint(dst, uint64(size))
	for _, list := range lists {
		dst = binary.AppendUvarint(dst, uint64(len(list)))
		for _, s := range list {
			dst = appendString(dst, s)
		}
	}
	dst = appendString(dst, e.Owner)
	return append(dst, e.Body...)
}

// forMany tells whether an encoded entry is for everybody or for groups. It is false of what is none.
func forMany(data string) bool {
	i := fixedHeader
	for i < len(data) && data[i] >= 0x80 { // the header's length
		i++
	}
	i++ // now at the number of groups
	return i < len(data) && (Flags(data[2])&FlagAll != 0 || data[i] > 0)
}

// isKind tells whether an encoded entry is of a kind. It may be true of what is none.
func isKind(data string, k Kind) bool { return len(data) > 1 && Kind(data[1]) == k }

// fixedHeader is the size of what an entry begins with, before the size of the rest of its header.
const fixedHeader = 6

func uvarintSize(n uint64) int {
	size := 1
	for n >= 0x80 {
		n >>= 7
		size++
	}
	return size
}

func stringSize(s string) int { return uvarintSize(uint64(len(s))) + len(s) }

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// textOf is what AppendEntry made, as a string without a copy: nobody may write to it any more.
func textOf(data []byte) string { return unsafe.String(unsafe.SliceData(data), len(data)) }

// DecodeEntry reads an encoded entry without copying: the strings and the body are
// parts of data, and the body must not be written to. It returns ErrEntryFormat for
// a format that this version does not know and ErrEntry for anything malformed.
func DecodeEntry(data string) (Entry, error) {
	if len(data) < 7 {
		return Entry{}, fmt.Errorf("%w: %d bytes", ErrEntry, len(data))
	}
	if data[0] != EntryFormat {
		return Entry{}, fmt.Errorf("%w: %d", ErrEntryFormat, data[0])
	}
	e := Entry{Kind: Kind(data[1]), Flags: Flags(data[2]), Verb: Verb(data[3]), Protocol: data[4], Version: data[5]}
	r := headerReader{rest: data[6:]}
	size := r.uvarint()
	if r.failed || size > uint64(len(r.rest)) {
		return Entry{}, fmt.Errorf("%w: header length", ErrEntry)
	}
	body := r.rest[size:]
	r.rest = r.rest[:size]
	e.Groups = r.list()
	e.Users = r.list()
	e.Connections = r.list()
	e.Excluded = r.list()
	e.Named = r.list()
	e.Owner = r.string()
	if r.failed || r.rest != "" {
		return Entry{}, fmt.Errorf("%w: header", ErrEntry)
	}
	e.Body = unsafe.Slice(unsafe.StringData(body), len(body))
	return e, nil
}

// headerReader reads the header's fields; after a failure every read gives nothing.
type headerReader struct {
	rest   string
	failed bool
}

func (r *headerReader) uvarint() uint64 {
	var n uint64
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		b := r.rest[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.rest = r.rest[i+1:]
			return n
		}
	}
	r.failed, r.rest = true, ""
	return 0
}

func (r *headerReader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.failed, r.rest = true, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}

func (r *headerReader) list() []string {
	n := r.uvarint()
	if n == 0 {
		return nil
	}
	if n > uint64(len(r.rest)) { // each string takes at least its length
		r.failed, r.rest = true, ""
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.string()
	}
	return list
}
