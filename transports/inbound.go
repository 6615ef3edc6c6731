package transports

import (
	"fmt"

	"hubstream/transports/hubprotocol"
)

// unanswered returns the answer to a message of a client that wants one, or nil, where there is no upstream that hub
// methods could be sent to: the caller is told so at once and does not hang.
func (s *Server) unanswered(m *hubprotocol.Message, p hubprotocol.Protocol) []byte {
	if m.InvocationID == "" || (m.Type != hubprotocol.Invocation && m.Type != hubprotocol.StreamInvocation) {
		return nil
	}
	text := fmt.Sprintf("Unknown hub method '%s': no upstream is configured that hub methods are sent to.", clip(m.Target, 100))
	return hubprotocol.AppendCompletionError(nil, p, m.InvocationID, text)
}

// clip shortens a client's text for a message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}
