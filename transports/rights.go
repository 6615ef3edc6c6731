package transports

import (
	"slices"
	"strings"
)

// The methods that every hub has, for clients that have a right to them.
const (
	methodJoinGroup   = "JoinGroup"
	methodLeaveGroup  = "LeaveGroup"
	methodSendToGroup = "SendToGroup"
	methodSendToAll   = "SendToAll"
)

// RightsClaim is the claim that gives rights, each "<method>" or "<method>:<group>"; a group may end with * to stand for all that
// begin so.
const RightsClaim = "hubstream.rights"

var builtIn = []string{methodJoinGroup, methodLeaveGroup, methodSendToGroup, methodSendToAll}

// IsRight tells whether a text is a right.
func IsRight(text string) bool {
	method, group, restricted := strings.Cut(text, ":")
	return slices.Contains(builtIn, method) && (!restricted || group != "" && method != methodSendToAll)
}

// rights are those of a client: its claims', and what everybody has.
func (who *client) rights(s *Server) []string {
	var rights []string
	for _, c := range who.Claims {
		if c.Type == RightsClaim {
			rights = append(rights, c.Value)
		}
	}
	return append(rights, s.cfg.Rights...)
}

// may tells whether one of the rights is to call a built-in method, for a group if it has one.
func may(rights []string, method, group string) bool {
	return slices.ContainsFunc(rights, func(right string) bool {
		name, of, restricted := strings.Cut(right, ":")
		if name != method {
			return false
		}
		begin, open := strings.CutSuffix(of, "*")
		return !restricted || of == group || open && strings.HasPrefix(group, begin)
	})
}
