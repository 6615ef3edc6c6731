package streams

import (
	"fmt"
	"strconv"
	"strings"
)

// keyNames names the keys. All keys of a hub carry its bucket as their hash tag:
//
//	{hs:<bucket>}:<hub>:log         stream  the entries, each in one field "e"
//	{hs:<bucket>}:<hub>:meta        hash    gen, run (the process that made it), floor, top (where it was raised to)
//	{hs:<bucket>}:<hub>:live        zset    connection ID -> end of its lease
//	{hs:<bucket>}:<hub>:c:<id>      hash    a connection's record, or its tombstone
//	{hs:<bucket>}:<hub>:u:<user>    zset    IDs of a user's connections
//	{hs:<bucket>}:<hub>:g:<group>   zset    IDs of a group's connections, be they in it on their own or through their users
//	{hs:<bucket>}:<hub>:all:u       zset    users with connections
//	{hs:<bucket>}:<hub>:all:g       zset    groups with connections
//	{hs:<bucket>}:<hub>:ug:<user>   hash    a user's memberships; see users.lua
//	{hs:<bucket>}:<hub>:due         zset    memberships of users -> when their time passes
//	{hs:<bucket>}:<hub>:keys        hash    idempotency key -> position and sum of its append; see batch.lua
//	{hs:<bucket>}:<hub>:keys:aside  hash    the same of keys that came before
//	{hs:<bucket>}:<hub>:in:<id>     list    a connection's work
//	{hs:<bucket>}:<hub>:work:<id>   hash    what its work is made from, and how far it is; see worklib.lua
//	{hs:<bucket>}:<hub>:exec        hash    connection ID -> worker that has its work
//	{hs:<bucket>}:workers           zset    worker -> end of its lease
//	{hs:<bucket>}:nodes             zset    node -> end of its lease
//	{hs:<bucket>}:hubs              set     hubs that have, or had, a log
//	hs:secret                       string
//	hs:reports                      hash    node -> when it reported, and what
//
// Names are escaped outside [A-Za-z0-9_.-], which lib.lua does in the same way.
type keyNames struct{ prefix string }

// check refuses a prefix that would break the hash tag.
func (k keyNames) check() error {
	if strings.ContainsAny(k.prefix, "{}") {
		return fmt.Errorf("the prefix %q of Valkey's keys may not contain braces", k.prefix)
	}
	return nil
}

func (k keyNames) bucket(bucket int) string {
	return "{" + k.prefix + ":" + strconv.Itoa(bucket) + "}:"
}

func (k keyNames) nodes(bucket int) string   { return k.bucket(bucket) + "nodes" }
func (k keyNames) workers(bucket int) string { return k.bucket(bucket) + "workers" }
func (k keyNames) hubs(bucket int) string    { return k.bucket(bucket) + "hubs" }
func (k keyNames) secret() string            { return k.prefix + ":secret" }
func (k keyNames) reports() string           { return k.prefix + ":reports" }
func (k keyNames) probe() string             { return k.prefix + ":probe" }

// hub returns what all keys of a hub begin with.
func (k keyNames) hub(hub string) hubKeys {
	return hubKeys(k.bucket(Bucket(hub)) + escapeName(hub) + ":")
}

type hubKeys string

func (h hubKeys) log() string                  { return string(h) + "log" }
func (h hubKeys) meta() string                 { return string(h) + "meta" }
func (h hubKeys) live() string                 { return string(h) + "live" }
func (h hubKeys) record(id string) string      { return string(h) + "c:" + escapeName(id) }
func (h hubKeys) keys() string                 { return string(h) + "keys" }
func (h hubKeys) keysAside() string            { return string(h) + "keys:aside" }
func (h hubKeys) list(id string) string        { return string(h) + "in:" + escapeName(id) }
func (h hubKeys) work(id string) string        { return string(h) + "work:" + escapeName(id) }
func (h hubKeys) exec() string                 { return string(h) + "exec" }
func (h hubKeys) accepted(token string) string { return string(h) + "accepted:" + token }
func (h hubKeys) memberships(user string) string {
	return string(h) + "ug:" + escapeName(user)
}
func (h hubKeys) due() string { return string(h) + "due" }

// holderKinds are the kinds of sets of connections; see lib.lua.
var holderKinds = map[Holder]string{HolderUser: "u", HolderGroup: "g"}

// connections are those of a user or a group.
func (h hubKeys) connections(of Holder, name string) string {
	return string(h) + holderKinds[of] + ":" + escapeName(name)
}

// names are those of the users or groups that have connections.
func (h hubKeys) names(of Holder) string { return string(h) + "all:" + holderKinds[of] }

func escapeName(s string) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if !plain(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-'
}
