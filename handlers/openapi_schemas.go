package handlers

import "hubstream/streams"

// Parts of the OpenAPI document that are written by hand: parameters, bodies, answers.

func parameter(name, in, description string, schema object) object {
	return object{"name": name, "in": in, "required": in == "path", "description": description, "schema": schema}
}

func textSchema(most int) object { return object{"type": "string", "minLength": 1, "maxLength": most} }

func numberSchema(least, most int) object {
	return object{"type": "integer", "minimum": least, "maximum": most}
}

var (
	nameSchema = textSchema(streams.MaxNameLength) // of groups and users
	idSchema   = textSchema(streams.MaxIDBytes)
)

var apiParameters = object{
	"hub":        parameter("hub", "path", "The hub; upper and lower case are the same", textSchema(128)),
	"group":      parameter("group", "path", "A group's name, percent-encoded", nameSchema),
	"user":       parameter("user", "path", "A user's name, percent-encoded", nameSchema),
	"connection": parameter("connection", "path", "A connection ID", idSchema),
	"stream":     parameter("stream", "path", "The invocation ID of a client's stream", textSchema(maxStreamID)),
	"groups":     parameter("groups", "path", "Names of groups, separated by commas", object{"type": "string"}),
	"users":      parameter("users", "path", "Names of users, separated by commas", object{"type": "string"}),

	"excluded":          parameter("excluded", "query", "A connection ID that is left out; may be given again", object{"type": "array", "items": idSchema, "maxItems": streams.MaxTargets}),
	"reason":            parameter("reason", "query", "What the client is told", object{"type": "string", "maxLength": maxReasonBytes}),
	"allowReconnect":    parameter("allowReconnect", "query", "Whether the client may reconnect", object{"type": "boolean"}),
	"completed":         parameter("completed", "query", "Whether the stream ends after the item", object{"type": "boolean"}),
	"error":             parameter("error", "query", "The reason, as Azure's SDKs name it", object{"type": "string", "maxLength": maxReasonBytes}),
	"filter":            parameter("filter", "query", "Which connections, such as startswith(userId, 'a'); left out: all", object{"type": "string", "maxLength": maxFilterBytes}),
	"limit":             parameter("limit", "query", "How many are returned at most", numberSchema(1, maxListed)),
	"cursor":            parameter("cursor", "query", "The next of the page before", object{"type": "string"}),
	"maxpagesize":       parameter("maxpagesize", "query", "With api-version: how many are on a page", numberSchema(1, maxAzurePage)),
	"top":               parameter("top", "query", "With api-version: how many are returned in all", numberSchema(1, 1<<31-1)),
	"continuationToken": parameter("continuationToken", "query", "With api-version: part of nextLink", object{"type": "string"}),
	"userId":            parameter("userId", "query", "The client's user; none if empty", object{"type": "string", "maxLength": streams.MaxNameLength}),
	"minutesToExpire":   parameter("minutesToExpire", "query", "Minutes that the token is good for", numberSchema(1, maxTokenMinutes)),
	"ttl":               parameter("ttl", "query", "Seconds. Without, until removed; 0: only the connections that the user has now", numberSchema(0, 1<<31-1)),
	"followed":          parameter("groups", "query", "Groups that are followed, by commas", object{"type": "string"}),
	"followedUser":      parameter("user", "query", "Whose messages are followed, too. Of backends, and in development mode: a client's token says who it is", nameSchema),
	"access_token":      parameter("access_token", "query", "The token, for those who cannot set a header", object{"type": "string"}),
	"application":       parameter("application", "query", "Azure's prefix of the hub's name: <application>_<hub>", textSchema(128)),
	"api-version":       parameter("api-version", "query", "Makes the answers those of Azure SignalR Service; any value", object{"type": "string"}),
	"timeout":           parameter("timeout", "query", "How long to wait for the client, such as 5s; up to 1m, which is the default", object{"type": "string"}),
	"Last-Event-ID":     parameter("Last-Event-ID", "header", "The id of the last event that has arrived: the stream goes on after it", object{"type": "string"}),
	keyHeader:           parameter(keyHeader, "header", "Makes the request safe to repeat for 10 minutes", idSchema),
}

func jsonBody(schema object) object { return object{"application/json": object{"schema": schema}} }

func required(properties object, names ...string) object {
	return object{"type": "object", "properties": properties, "required": names}
}

func listOf(items object) object { return object{"type": "array", "items": items} }

var (
	namesSchema     = object{"type": "array", "items": nameSchema, "minItems": 1, "maxItems": streams.MaxTargets}
	idsSchema       = object{"type": "array", "items": idSchema, "minItems": 1, "maxItems": streams.MaxTargets}
	argumentsSchema = object{"type": "array", "items": object{}, "default": []any{}}
	anyText         = object{"type": "string"}
	anyNumber       = object{"type": "integer"}
	yesNo           = object{"type": "boolean"}
	moment          = object{"type": "string", "format": "date-time"}
)

// apiBodies are the bodies of requests.
var apiBodies = map[string]object{
	"send": {"required": true, "content": jsonBody(reference("schemas", "send"))},
	"message": {"required": true, "content": object{
		"application/json": object{"schema": reference("schemas", "message")},
		mediaMsgpack:       object{"schema": object{"description": "a map with target and arguments, or from names of protocols to whole hub messages"}},
		mediaOctets:        object{"schema": object{"description": "a map of MessagePack from names of protocols to whole hub messages"}},
	}},
	"item": {"required": true, "content": object{
		"application/json": object{"schema": object{"description": "the item, any value"}},
		mediaMsgpack:       object{"schema": object{"description": "a map from names of protocols to whole stream items"}},
		mediaOctets:        object{"schema": object{"description": "a map of MessagePack from names of protocols to whole stream items"}},
	}},
	"commands": {"required": true, "content": jsonBody(object{"type": "array", "minItems": 1, "maxItems": maxCommands, "items": required(object{
		"type": object{"type": "string", "enum": []string{commandSend, commandJoin, commandLeave, commandClose}}, "message": reference("schemas", "message"),
		"group": nameSchema, "reason": object{"type": "string", "maxLength": maxReasonBytes},
	}, "type")})},
	"batch": {"required": true, "content": object{
		"application/json":     object{"schema": object{"type": "array", "maxItems": maxBatched, "items": reference("schemas", "operation")}},
		"application/x-ndjson": object{"schema": reference("schemas", "operation")},
	}},
}

// apiAnswer is the body of a success.
type apiAnswer struct {
	mediaType string
	schema    object
}

func jsonAnswer(schema object) apiAnswer { return apiAnswer{"application/json", schema} }

func pageOf(list string, items object) apiAnswer {
	return jsonAnswer(required(object{list: listOf(items), "total": anyNumber, "next": anyText}, list, "total", "next"))
}

var apiAnswers = map[string]apiAnswer{
	"result":      jsonAnswer(object{"type": "object", "properties": object{"result": object{"description": "The client's; left out if it has none"}}}),
	"receipt":     jsonAnswer(reference("schemas", "receipt")),
	"results":     jsonAnswer(required(object{"results": listOf(reference("schemas", "result"))}, "results")),
	"membership":  jsonAnswer(reference("schemas", "membership")),
	"count":       jsonAnswer(required(object{"connections": anyNumber}, "connections")),
	"connection":  jsonAnswer(reference("schemas", "connection")),
	"connections": pageOf("connections", reference("schemas", "connection")),
	"members": jsonAnswer(object{"type": "object", "properties": object{
		"connections": listOf(reference("schemas", "connection")), "total": anyNumber, "next": anyText,
		"value": listOf(required(object{"connectionId": anyText, "userId": anyText}, "connectionId")), "nextLink": anyText,
	}}),
	"pending": jsonAnswer(required(object{
		"connectionId": anyText, "buffered": yesNo, "truncated": yesNo,
		"pending": listOf(required(object{"position": anyText, "message": object{}}, "position", "message")),
	}, "connectionId", "buffered", "pending", "truncated")),
	"groups":     pageOf("groups", required(object{"group": anyText, "connections": anyNumber}, "group", "connections")),
	"users":      pageOf("users", required(object{"user": anyText, "connections": anyNumber}, "user", "connections")),
	"userGroups": jsonAnswer(required(object{"groups": listOf(required(object{"group": anyText, "until": moment}, "group", "until"))}, "groups")),
	"token":      jsonAnswer(required(object{"token": anyText}, "token")),
	"accessKey":  jsonAnswer(required(object{"AccessKey": anyText, "KeyId": anyText}, "AccessKey", "KeyId")),
	"events":     {"text/event-stream", anyText},
	"health":     {"text/plain", anyText},
	"document":   jsonAnswer(object{"type": "object"}),
}

// apiSchemas are the shapes that several operations share.
var apiSchemas = object{
	"send": required(object{
		"target": idSchema, "arguments": argumentsSchema, "groups": namesSchema, "users": namesSchema, "connections": idsSchema, "excluded": idsSchema, "id": idSchema,
	}, "target"),
	"operation": object{"type": "object", "properties": object{
		"op":     object{"type": "string", "enum": []string{opSend, opJoin, opLeave, opLeaveAll, opClose, opCloseAll}, "default": opSend},
		"target": idSchema, "arguments": argumentsSchema, "groups": namesSchema, "users": namesSchema, "connections": idsSchema,
		"excluded": idsSchema, "id": idSchema, "connection": idSchema, "user": nameSchema, "group": nameSchema,
		"ttl": numberSchema(0, 1<<31-1), "reason": object{"type": "string", "maxLength": maxReasonBytes}, "allowReconnect": yesNo,
	}},
	"result": required(object{
		"status": anyNumber, "position": anyText, "replayed": yesNo, "changed": yesNo,
		"error": reference("schemas", "error"),
	}, "status"),
	"message": required(object{"target": idSchema, "arguments": argumentsSchema}, "target"),
	"receipt": required(object{"position": anyText, "replayed": yesNo}, "position"),
	"membership": required(object{
		"position": object{"type": "string", "description": "where in the hub's log it holds from; left out if it never was otherwise"}, "changed": yesNo,
	}, "changed"),
	"connection": required(object{
		"connectionId": anyText, "user": anyText, "transport": anyText, "state": anyText, "node": anyText, "since": moment,
		"groups": listOf(anyText), "stateful": yesNo, "protocol": anyText,
		"lagMs": object{"type": "integer", "description": "age of the oldest message that is buffered for it; left out where nothing is buffered"},
	}, "connectionId", "state"),
	"error": required(object{
		"code": object{"type": "string", "enum": codeNames()}, "message": anyText,
		"target":  object{"type": "string", "description": "what is wrong, where something is"},
		"outcome": object{"type": "string", "enum": []string{"unknown"}},
	}, "code", "message"),
}
