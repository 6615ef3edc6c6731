package handlers

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"hubstream/streams"
)

// operation is one thing that backends can ask for, at one or several addresses. The routes are made from these, and so is the
// OpenAPI document: what is served and what is said to be served cannot differ.
type operation struct {
	id, summary string
	methods     []string
	// paths are as in OpenAPI: /api/hubs/{hub}/groups/{group}/:send.
	paths []string
	query []string // names of apiParameters
	body  string   // name of an apiBodies; empty: none
	// status is that of success, answer the name of an apiAnswers; empty: no body.
	status int
	answer string
	// codes are those of refusals beside those that every operation may have.
	codes []code
	serve func(echo.Context, *Services) error
	// bare serves without the services, and so also while the node starts.
	bare echo.HandlerFunc
}

// Prefixes of Azure SignalR Service's data-plane REST API: of versions 2022-06-01 and later, of v1, and of v1-preview. Ours is the first,
// too.
const (
	hubPath     = "/api/hubs/{hub}"
	v1Path      = "/api/v1/hubs/{hub}"
	previewPath = "/api/v1-preview/hub/{hub}"
)

var readMethods = []string{http.MethodGet, http.MethodHead}

// under returns paths below both of Azure's prefixes.
func under(path string) []string { return []string{hubPath + path, v1Path + path} }

// apiRoutes makes the routes of the backends' API.
func (h *Handler) apiRoutes() {
	verbs := map[string]func(echo.Context, *Services) error{}
	for _, op := range h.operations {
		for _, path := range op.paths {
			if verb, ok := strings.CutPrefix(path, hubPath+":"); ok {
				verbs[verb] = op.serve
				continue
			}
			for _, method := range op.methods {
				h.echo.Add(method, echoPath(path), h.handlerOf(&op))
			}
		}
	}
	// A parameter of echo's goes on to the next slash.
	h.echo.POST(echoPath(hubPath), h.with(func(c echo.Context, s *Services) error {
		raw := c.Param("hub")
		at := strings.LastIndexByte(raw, ':')
		if at < 0 || verbs[raw[at+1:]] == nil {
			return echo.ErrNotFound
		}
		c.SetParamValues(raw[:at])
		return verbs[raw[at+1:]](c, s)
	}))
}

func (h *Handler) handlerOf(op *operation) echo.HandlerFunc {
	if op.bare != nil {
		return h.guard(op.bare)
	}
	return h.with(op.serve)
}

// echoPath is a path as echo has it, where a colon that is no parameter has a backslash before it.
func echoPath(path string) string {
	return strings.NewReplacer("/:", `/\:`, "{", ":", "}", "").Replace(path)
}

// apiOperations are all operations of the backends' API.
func (h *Handler) apiOperations() []operation {
	ops := append(h.sendOperations(), closeOperations()...)
	ops = append(ops, h.connectionOperations()...)
	ops = append(ops, groupOperations()...)
	ops = append(ops, userOperations()...)
	return append(ops, h.nodeOperations()...)
}

func (h *Handler) sendOperations() []operation {
	codes := []code{codeTooLarge, codeMediaType, codeKeyReused, codeFull, codeTimeout}
	ops := []operation{{
		id: "send", summary: "Sends a message to all connections, or to those that the body names",
		methods: []string{http.MethodPost}, paths: []string{hubPath + "/send"},
		body: "send", status: http.StatusAccepted, answer: "receipt", codes: codes, serve: traced(h.send),
	}}
	ops = append(ops, operation{
		id: "batch", summary: "Makes many operations, each after those before it: as a JSON array, or line by line as they come",
		methods: []string{http.MethodPost}, paths: []string{hubPath + "/batch"}, body: "batch", status: http.StatusOK, answer: "results",
		codes: []code{codeTooLarge, codeMediaType, codeTimeout}, serve: h.batch,
	})
	for _, to := range []struct {
		target
		id, summary, at string
	}{
		{targetAll, "sendToAll", "Sends a message to all connections", ""},
		{targetGroup, "sendToGroup", "Sends a message to a group", "/groups/{group}"},
		{targetUser, "sendToUser", "Sends a message to a user's connections", "/users/{user}"},
		{targetConnection, "sendToConnection", "Sends a message to one connection", "/connections/{connection}"},
	} {
		paths := []string{hubPath + to.at + "/:send", v1Path + to.at}
		switch to.target {
		case targetAll:
			paths = append(paths, hubPath+":send", previewPath)
		case targetGroup:
			paths = append(paths, previewPath+"/group/{group}")
		case targetUser:
			paths = append(paths, previewPath+"/user/{user}")
		}
		ops = append(ops, operation{
			id: to.id, summary: to.summary, methods: []string{http.MethodPost}, paths: paths, query: []string{"excluded"},
			body: "message", status: http.StatusAccepted, answer: "receipt", codes: codes, serve: traced(h.sendTo(to.target)),
		})
	}
	return append(ops, operation{
		id: "sendToGroups", summary: "Sends a message to several groups, by commas", methods: []string{http.MethodPost},
		paths: []string{previewPath + "/groups/{groups}"}, query: []string{"excluded"},
		body: "message", status: http.StatusAccepted, answer: "receipt", codes: codes, serve: traced(h.sendTo(targetGroups)),
	}, operation{
		id: "sendToUsers", summary: "Sends a message to several users, by commas", methods: []string{http.MethodPost},
		paths: []string{previewPath + "/users/{users}"}, query: []string{"excluded"},
		body: "message", status: http.StatusAccepted, answer: "receipt", codes: codes, serve: traced(h.sendTo(targetUsers)),
	})
}

func closeOperations() []operation {
	query := []string{"excluded", "reason", "allowReconnect"}
	ops := []operation{{
		id: "closeConnection", summary: "Closes a connection: it is sent what came before, then the reason", methods: []string{http.MethodDelete},
		paths: under("/connections/{connection}"), query: query[1:],
		status: http.StatusAccepted, codes: []code{codeNotFound, codeFull}, serve: withErrorCode(warnConnection, closeConnection),
	}}
	for _, to := range []struct {
		target
		id, summary, at string
	}{
		{targetAll, "closeAll", "Closes all connections", ""},
		{targetGroup, "closeGroup", "Closes a group's connections", "/groups/{group}"},
		{targetUser, "closeUser", "Closes a user's connections", "/users/{user}"},
	} {
		paths := []string{hubPath + to.at + "/:closeConnections"}
		if to.target == targetAll {
			paths = append(paths, hubPath+":closeConnections")
		}
		ops = append(ops, operation{
			id: to.id, summary: to.summary, methods: []string{http.MethodPost}, paths: paths, query: query,
			status: http.StatusNoContent, codes: []code{codeFull}, serve: closeAudience(to.target),
		})
	}
	return ops
}

func (h *Handler) connectionOperations() []operation {
	gone := []code{codeNotFound}
	return []operation{{
		id: "listConnections", summary: "Lists connections over all nodes, and how many there are", methods: []string{http.MethodGet},
		paths: []string{hubPath + "/connections"}, query: []string{"limit", "cursor"}, status: http.StatusOK, answer: "connections",
		serve: listConnections,
	}, {
		id: "showConnection", summary: "Tells whether a connection exists, and what is known of it", methods: readMethods,
		paths: under("/connections/{connection}"), status: http.StatusOK, answer: "connection", codes: gone,
		serve: withErrorCode(warnConnection, showConnection),
	}, {
		id: "showPending", summary: "Shows what is buffered for a connection", methods: []string{http.MethodGet},
		paths: []string{hubPath + "/connections/{connection}/pending"}, query: []string{"limit"}, status: http.StatusOK, answer: "pending",
		codes: []code{codeNotFound, codeGap}, serve: showPending,
	}, {
		id: "invoke", summary: "Calls a method of a connection's client, and waits for its answer", methods: []string{http.MethodPost},
		paths: []string{hubPath + "/connections/{connection}/:invoke"}, query: []string{"timeout"},
		body: "message", status: http.StatusOK, answer: "result",
		codes: []code{codeNotFound, codeTooLarge, codeMediaType, codeFull, codeTimeout, codeClientError, codeClientTimeout},
		serve: withErrorCode(warnConnection, h.invoke),
	}, {
		id: "sendItem", summary: "Sends an item of a stream that a connection's client waits for", methods: []string{http.MethodPost},
		paths: []string{hubPath + "/connections/{connection}/streams/{stream}/:send"}, query: []string{"completed"},
		body: "item", status: http.StatusAccepted, answer: "receipt",
		codes: []code{codeTooLarge, codeMediaType, codeKeyReused, codeFull, codeTimeout}, serve: h.sendItem,
	}, {
		id: "completeStream", summary: "Ends a stream that a connection's client waits for, with an error if there is a reason",
		methods: []string{http.MethodPost}, paths: []string{hubPath + "/connections/{connection}/streams/{stream}/:complete"},
		query: []string{"reason", "error"}, status: http.StatusAccepted, answer: "receipt", codes: []code{codeFull, codeKeyReused}, serve: completeStream,
	}, {
		id: "leaveAllGroups", summary: "Takes a connection out of all groups that it has joined", methods: []string{http.MethodDelete},
		paths: under("/connections/{connection}/groups"), status: http.StatusOK, answer: "membership", serve: leaveAll,
	}, {
		id: "followEvents", summary: "Follows a hub as a plain event stream", methods: []string{http.MethodGet},
		paths: []string{hubPath + "/events"}, query: []string{"followed", "followedUser", "access_token", "Last-Event-ID"}, status: http.StatusOK, answer: "events",
		codes: []code{codeForbidden, codeTooManyConnections}, serve: h.followEvents,
	}}
}

func groupOperations() []operation {
	member := append(under("/groups/{group}/connections/{connection}"), v1Path+"/connections/{connection}/groups/{group}")
	return []operation{{
		id: "listGroups", summary: "Lists the groups that have connections, and how many there are", methods: []string{http.MethodGet},
		paths: []string{hubPath + "/groups"}, query: []string{"limit", "cursor"}, status: http.StatusOK, answer: "groups",
		serve: listNames(targetGroup),
	}, {
		id: "showGroup", summary: "Tells whether a group has connections, and how many", methods: readMethods,
		paths: under("/groups/{group}"), status: http.StatusOK, answer: "count", codes: []code{codeNotFound}, serve: countOf(targetGroup),
	}, {
		id: "listGroupConnections", summary: "Lists a group's connections. With api-version as Azure does, else as the list of all connections",
		methods: []string{http.MethodGet}, paths: []string{hubPath + "/groups/{group}/connections"},
		query:  []string{"limit", "cursor", "maxpagesize", "top", "continuationToken"},
		status: http.StatusOK, answer: "members", serve: listMembers(targetGroup),
	}, {
		id: "joinGroup", summary: "Makes a connection join a group", methods: []string{http.MethodPut}, paths: member,
		status: http.StatusOK, answer: "membership", codes: []code{codeNotFound, codeTooManyGroups, codeFull},
		serve: withErrorCode(errorConnection, join),
	}, {
		id: "leaveGroup", summary: "Makes a connection leave a group", methods: []string{http.MethodDelete}, paths: member,
		status: http.StatusOK, answer: "membership", codes: []code{codeNotFound, codeFull}, serve: tolerant(leave),
	}}
}

func userOperations() []operation {
	member := []string{hubPath + "/users/{user}/groups/{group}", v1Path + "/groups/{group}/users/{user}", v1Path + "/users/{user}/groups/{group}"}
	return []operation{{
		id: "listUsers", summary: "Lists the users that have connections, and how many there are", methods: []string{http.MethodGet},
		paths: []string{hubPath + "/users"}, query: []string{"limit", "cursor"}, status: http.StatusOK, answer: "users",
		serve: listNames(targetUser),
	}, {
		id: "showUser", summary: "Tells whether a user has connections, and how many", methods: readMethods,
		paths: under("/users/{user}"), status: http.StatusOK, answer: "count", codes: []code{codeNotFound}, serve: countOf(targetUser),
	}, {
		id: "listUserConnections", summary: "Lists a user's connections", methods: []string{http.MethodGet},
		paths: []string{hubPath + "/users/{user}/connections"}, query: []string{"limit", "cursor"}, status: http.StatusOK, answer: "members",
		serve: listMembers(targetUser),
	}, {
		id: "listUserGroups", summary: "Lists the groups that a user is in, for all of its connections", methods: []string{http.MethodGet},
		paths: []string{hubPath + "/users/{user}/groups"}, status: http.StatusOK, answer: "userGroups", serve: listUserGroups,
	}, {
		id: "showUserInGroup", summary: "Tells whether a user, or one of its connections, is in a group", methods: readMethods, paths: member,
		status: http.StatusOK, codes: []code{codeNotFound}, serve: showUserInGroup,
	}, {
		id: "joinUser", summary: "Puts a user into a group: all of its connections, now and later", methods: []string{http.MethodPut}, paths: member,
		query: []string{"ttl"}, status: http.StatusOK, answer: "membership", codes: []code{codeTooManyGroups, codeFull}, serve: joinUser,
	}, {
		id: "leaveUser", summary: "Takes a user and its connections out of a group", methods: []string{http.MethodDelete}, paths: member,
		status: http.StatusOK, answer: "membership", codes: []code{codeFull}, serve: leaveUser(streams.VerbLeave),
	}, {
		id: "leaveUserAll", summary: "Takes a user and its connections out of all groups", methods: []string{http.MethodDelete},
		paths: under("/users/{user}/groups"), status: http.StatusOK, answer: "membership", codes: []code{codeFull},
		serve: leaveUser(streams.VerbLeaveAll),
	}}
}

func (h *Handler) nodeOperations() []operation {
	return []operation{{
		id: "generateToken", summary: "Makes an access token for a client", methods: []string{http.MethodPost},
		paths: []string{hubPath + "/:generateToken", hubPath + ":generateToken"}, query: []string{"userId", "minutesToExpire"},
		status: http.StatusOK, answer: "token", codes: []code{codeNoKeys}, serve: h.generateToken,
	}, {
		id: "execute", summary: "Does commands with all connections that a filter selects", methods: []string{http.MethodPost},
		paths: []string{hubPath + "/:execute", hubPath + ":execute"}, query: []string{"filter"}, body: "commands", status: http.StatusAccepted,
		codes: []code{codeTooLarge, codeMediaType, codeTimeout, codeTooManyGroups, codeFull}, serve: h.execute,
	}, {
		id: "accessKey", summary: "Hands out a key that signs tokens for some hours, to backends that have an identity provider's token", methods: []string{http.MethodGet},
		paths: []string{"/api/auth/accessKey", "/api/v1/auth/accessKey"}, status: http.StatusOK, answer: "accessKey", codes: []code{codeNoKeys}, serve: h.accessKey,
	}, {
		id: "health", summary: "Says that the node lives", methods: readMethods, paths: []string{"/api/health", "/api/v1/health"},
		status: http.StatusOK, answer: "health", bare: healthz,
	}, {
		id: "openapi", summary: "This document", methods: readMethods, paths: []string{openAPIPath}, status: http.StatusOK, answer: "document",
		bare: h.showOpenAPI,
	}}
}
