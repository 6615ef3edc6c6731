// Package handlers is a node's HTTP surface: the hubs' addresses for clients, the API for
// backends, and health.
//
//	clients   POST          /hubs/{hub}/negotiate                               negotiate.Negotiator
//	          any           /hubs/{hub}                                         HubServer
//	backends  POST          /api/hubs/{hub}/send                                one entry in the hub's log
//	          PUT, DELETE   /api/hubs/{hub}/groups/{group}/connections/{id}     join, leave
//	          GET, HEAD     /api/hubs/{hub}/connections/{id}                    details, existence
//	          DELETE        /api/hubs/{hub}/connections/{id}                    close
//	          GET           /api/hubs/{hub}/connections/{id}/pending            what is buffered
//	operators GET           /healthz, /readyz, /metrics, /api/health
//	          GET           /, /console/...                                     Console
//	          GET           /console/api/hubs/...                               hubs, logs, connections; for the console
//
// Requests are checked here, completely, before anything behind is asked; what is refused
// names the field or the limit. Errors become statuses in one place (answerError): JSON for
// backends, plain text for clients, whose libraries show it to their users.
//
// Left to others: moving bytes to clients (transports), what a message may hold
// (hubprotocol), and the log. There is no authentication: a user is whoever the client says.
package handlers
