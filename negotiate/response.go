package negotiate

import (
	"encoding/json"
	"strconv"
)

// Response is the body of an answer to negotiate, always with status 200 (TransportProtocols.md, "POST
// [endpoint-base]/negotiate request"). It is one of three: an error, a redirect, or the answer that lets the client
// connect. Fields that do not apply are left out, never null: the .NET and Java clients fail on null.
type Response struct {
	// The answer.
	NegotiateVersion     int                  `json:"negotiateVersion"`
	ConnectionID         string               `json:"connectionId"`                   // public; at version 0 the connection token
	ConnectionToken      string               `json:"connectionToken,omitempty"`      // the client's secret; empty at version 0
	UseStatefulReconnect bool                 `json:"useStatefulReconnect,omitempty"` // clients fail if it is there unasked
	AvailableTransports  []AvailableTransport `json:"availableTransports"`            // in the order in which clients try them; shared, not to be written to
	// TokenLifetimeSeconds makes clients of .NET 11 show a newer token in time; others skip it. 0: it is left out.
	TokenLifetimeSeconds int64 `json:"tokenLifetimeSeconds,omitempty"`

	// A redirect: the client negotiates again at URL, with AccessToken if there is one. ASP.NET Core adds a version and an
	// empty list of transports, which clients ignore here; the specification has neither.
	URL         string `json:"url,omitempty"`
	AccessToken string `json:"accessToken,omitempty"`

	// An error: the client's start fails with this text.
	Error string `json:"error,omitempty"`
}

// ErrorResponse returns the answer that makes the client's start fail with text, which must not be empty.
func ErrorResponse(text string) Response {
	return Response{Error: text}
}

// RedirectResponse returns the answer that sends the client to the hub at url. If accessToken is not empty, it
// replaces the client's own from there on.
func RedirectResponse(url, accessToken string) Response {
	return Response{URL: url, AccessToken: accessToken}
}

// MarshalJSON writes the fields of the one form that r has, and no others.
func (r Response) MarshalJSON() ([]byte, error) {
	switch {
	case r.Error != "":
		return json.Marshal(struct {
			Error string `json:"error"`
		}{r.Error})
	case r.URL != "":
		return json.Marshal(struct {
			URL         string `json:"url"`
			AccessToken string `json:"accessToken,omitempty"`
		}{r.URL, r.AccessToken})
	}
	return r.appendAnswer(nil), nil
}

// AppendJSON appends what MarshalJSON returns; the answer, which every connection begins with, without reflection.
func (r Response) AppendJSON(b []byte) ([]byte, error) {
	if r.Error == "" && r.URL == "" {
		return r.appendAnswer(b), nil
	}
	other, err := r.MarshalJSON()
	return append(b, other...), err
}

func (r *Response) appendAnswer(b []byte) []byte {
	b = append(b, `{"negotiateVersion":`...)
	b = strconv.AppendInt(b, int64(r.NegotiateVersion), 10)
	b = appendText(append(b, `,"connectionId":`...), r.ConnectionID)
	if r.ConnectionToken != "" {
		b = appendText(append(b, `,"connectionToken":`...), r.ConnectionToken)
	}
	if r.UseStatefulReconnect {
		b = append(b, `,"useStatefulReconnect":true`...)
	}
	b = append(b, `,"availableTransports":[`...) // .NET throws if it is missing, or null
	for i, available := range r.AvailableTransports {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"transport":`...), string(available.Transport))
		b = append(b, `,"transferFormats":[`...)
		for i, format := range available.TransferFormats {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, string(format))
		}
		b = append(b, "]}"...)
	}
	b = append(b, ']')
	if r.TokenLifetimeSeconds != 0 {
		b = append(b, `,"tokenLifetimeSeconds":`...)
		b = strconv.AppendInt(b, r.TokenLifetimeSeconds, 10)
	}
	return append(b, '}')
}

// appendText appends a string of JSON. Ours need no escapes.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // never fails for a string
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
