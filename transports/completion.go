package transports

import (
	"fmt"
	"mime"
	"net/http"

	"hubstream/internal/upstream"
	"hubstream/streams"
	"hubstream/transports/hubprotocol"
)

// maxCompletionBytes is what fits into an entry of the log, with room for its header.
const maxCompletionBytes = streams.MaxEntryBytes - 4<<10

// textTooLarge is the text for what an answer's limit does not allow.
const textTooLarge = "Invocation failed, response too large."

// completion makes the answer to a client's invocation of what an upstream has answered. Nothing of that reaches the client
// unread: what is not one Completion of this very invocation becomes an error.
func (w *session) completion(invocationID string, got *upstream.Answer, err error) (body []byte, p hubprotocol.Protocol) {
	body, p, text := w.checked(invocationID, got, err)
	if text == "" && len(body) > maxCompletionBytes {
		text = textTooLarge
	}
	if text != "" {
		return hubprotocol.AppendCompletionError(nil, hubprotocol.JSON, invocationID, text), hubprotocol.JSON
	}
	return body, p
}

func (w *session) checked(invocationID string, got *upstream.Answer, err error) (body []byte, p hubprotocol.Protocol, text string) {
	switch {
	case err != nil:
		return nil, 0, err.Error()
	case got.Status == http.StatusNoContent, got.Status == http.StatusOK && len(got.Body) == 0:
		return hubprotocol.AppendCompletionVoid(nil, hubprotocol.JSON, invocationID), hubprotocol.JSON, ""
	case got.Status != http.StatusOK:
		return nil, 0, fmt.Sprintf("Invocation failed, status code %d", got.Status)
	case len(got.Body) > maxCompletionBytes: // perhaps not all of it was read
		return nil, 0, textTooLarge
	}
	p, text = w.answerProtocol(got.ContentType)
	if text != "" {
		return nil, 0, text
	}
	m, err := hubprotocol.ParseCompletion(p, got.Body)
	switch {
	case err != nil:
		return nil, 0, fmt.Sprintf("Invocation failed: the upstream's answer is not a Completion: %v.", err)
	case m.InvocationID != invocationID:
		return nil, 0, "Invocation failed: the upstream's answer is for another invocation."
	}
	return rebuilt(p, &m)
}

// answerProtocol is what an answer is written in.
func (w *session) answerProtocol(contentType string) (p hubprotocol.Protocol, text string) {
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case contentType == "":
		return w.who.Protocol, ""
	case err == nil && (media == contentJSON || media == "text/plain"):
		return hubprotocol.JSON, ""
	case err == nil && (media == contentMessagePack || media == "application/octet-stream") && w.who.Protocol == hubprotocol.MessagePack:
		return hubprotocol.MessagePack, ""
	}
	return 0, fmt.Sprintf("Invocation failed: the upstream answered with the content type %q.", clip(contentType, 100))
}

// rebuilt writes a Completion anew, with what the protocol has and nothing else.
func rebuilt(p hubprotocol.Protocol, m *hubprotocol.Message) (body []byte, written hubprotocol.Protocol, text string) {
	var err error
	written = hubprotocol.JSON
	switch {
	case m.Error != "":
		body = hubprotocol.AppendCompletionError(nil, hubprotocol.JSON, m.InvocationID, m.Error)
	case !m.HasResult:
		body = hubprotocol.AppendCompletionVoid(nil, hubprotocol.JSON, m.InvocationID)
	case p == hubprotocol.MessagePack:
		written = p
		body, err = hubprotocol.AppendMessagePackResult(nil, m.InvocationID, m.Result)
	default:
		body, err = hubprotocol.AppendCompletionResult(nil, m.InvocationID, m.Result)
	}
	if err != nil {
		text = fmt.Sprintf("Invocation failed: the upstream's answer cannot be sent: %v.", err)
	}
	return body, written, text
}
