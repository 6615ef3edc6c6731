package negotiate

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// DefaultConnectDeadline is how long after negotiating a connection may be created, unless configured. Clients connect
// at once; the rest is for slow networks and for the fallback from one transport to the next.
const DefaultConnectDeadline = 60 * time.Second

// DefaultTransports are the transports offered, unless configured, in the order in which clients try them.
func DefaultTransports() []Transport {
	return []Transport{WebSockets, ServerSentEvents, LongPolling}
}

// Config is what a Negotiator needs to know.
type Config struct {
	// Keyring seals the tokens. Required.
	Keyring *Keyring

	// Now returns the time in milliseconds of Valkey's clock, which all nodes share. It is called concurrently. Required.
	Now func() int64

	// Transports are offered in this order. All nodes must offer the same: a client walks the list of its first answer,
	// while each step negotiates anew with any node. If empty, DefaultTransports.
	Transports []Transport

	// StatefulReconnect allows it to clients that ask for it.
	StatefulReconnect bool

	// ConnectDeadline is how long after negotiating a connection may be created. If zero, DefaultConnectDeadline.
	ConnectDeadline time.Duration
}

// Negotiator answers negotiate requests. It keeps nothing between them, and may be used concurrently.
type Negotiator struct {
	config     Config
	transports []AvailableTransport
}

// New returns a Negotiator. It returns an error if config lacks a required field, names a transport that is unknown
// or listed twice, or has a negative deadline.
func New(config Config) (*Negotiator, error) {
	if config.Keyring == nil || config.Now == nil {
		return nil, errors.New("negotiator needs a keyring and a clock")
	}
	if config.ConnectDeadline < 0 {
		return nil, fmt.Errorf("connect deadline %v is negative", config.ConnectDeadline)
	}
	if config.ConnectDeadline == 0 {
		config.ConnectDeadline = DefaultConnectDeadline
	}
	if len(config.Transports) == 0 {
		config.Transports = DefaultTransports()
	}
	transports, err := available(config.Transports)
	if err != nil {
		return nil, err
	}
	return &Negotiator{config: config, transports: transports}, nil
}

func available(transports []Transport) ([]AvailableTransport, error) {
	var list []AvailableTransport
	seen := make(map[Transport]bool)
	for _, transport := range transports {
		formats := transport.TransferFormats()
		if formats == nil {
			return nil, fmt.Errorf("transport %q is unknown: it is WebSockets, ServerSentEvents or LongPolling", transport)
		}
		if seen[transport] {
			return nil, fmt.Errorf("transport %q is listed twice", transport)
		}
		seen[transport] = true
		list = append(list, AvailableTransport{Transport: transport, TransferFormats: formats})
	}
	return list, nil
}

// Client is who negotiates.
type Client struct {
	// User is empty for a client without one.
	User string
	// Transports are those that it may use; nil: all.
	Transports []Transport
	// TokenLifetime is for how long it may stay without showing a newer access token, in seconds; 0: it may stay.
	TokenLifetime int64
}

// Negotiate answers a request for a hub, whose name is from HubName, by a client.
// What is wrong with the request, a user ID over MaxUserLength included, is answered with an error response.
func (n *Negotiator) Negotiate(hub string, client Client, query url.Values) Response {
	request, err := parseRequest(query)
	if err != nil {
		return ErrorResponse(err.Error())
	}
	transports := n.transportsFor(client)
	if len(transports) == 0 {
		return ErrorResponse("The access token allows none of the transports that are offered.")
	}
	token := Token{
		ConnectionID:      NewConnectionID(),
		Hub:               hub,
		User:              client.User,
		Deadline:          n.config.Now() + n.config.ConnectDeadline.Milliseconds(),
		NegotiateVersion:  request.version,
		StatefulReconnect: request.statefulReconnect && n.config.StatefulReconnect,
	}
	sealed, err := n.config.Keyring.Seal(token)
	if err != nil {
		return ErrorResponse(err.Error())
	}
	response := Response{
		NegotiateVersion:     token.NegotiateVersion,
		ConnectionID:         token.ConnectionID,
		ConnectionToken:      sealed,
		UseStatefulReconnect: token.StatefulReconnect,
		AvailableTransports:  transports,
		TokenLifetimeSeconds: client.TokenLifetime,
	}
	if token.NegotiateVersion == version0 {
		// Version 0 has no connection token: the client sends the connection ID as its "id".
		response.ConnectionID, response.ConnectionToken = sealed, ""
	}
	return response
}

// transportsFor are the transports that a client is offered.
func (n *Negotiator) transportsFor(client Client) []AvailableTransport {
	if client.Transports == nil {
		return n.transports
	}
	return slices.DeleteFunc(slices.Clone(n.transports), func(a AvailableTransport) bool {
		return !slices.Contains(client.Transports, a.Transport)
	})
}
