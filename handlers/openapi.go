package handlers

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
)

// openAPIPath is where the document is, which describes the backends' API (OpenAPI 3.1). Anybody may read it.
const openAPIPath = "/api/openapi.json"

func (h *Handler) showOpenAPI(c echo.Context) error {
	c.Response().Header()["Content-Type"] = jsonType
	c.Response().WriteHeader(http.StatusOK)
	_, _ = c.Response().Write(h.document)
	return nil
}

// object is a part of the document.
type object = map[string]any

// codeStatuses are the statuses that refusals of each code have.
var codeStatuses = map[code]int{
	codeInvalid: http.StatusBadRequest, codeUnauthorized: http.StatusUnauthorized, codeTokenInvalid: http.StatusUnauthorized,
	codeTokenExpired: http.StatusUnauthorized, codeTokenNotYetValid: http.StatusUnauthorized, codeTokenAudience: http.StatusUnauthorized,
	codeForbidden: http.StatusForbidden, codeOrigin: http.StatusForbidden, codeNotFound: http.StatusNotFound,
	codeMethodNotAllowed: http.StatusMethodNotAllowed, codeTimeout: http.StatusRequestTimeout, codeTooManyGroups: http.StatusConflict,
	codeRateLimited: http.StatusTooManyRequests, codeTooManyConnections: http.StatusTooManyRequests,
	codeGap: http.StatusGone, codeTooLarge: http.StatusRequestEntityTooLarge, codeMediaType: http.StatusUnsupportedMediaType,
	codeKeyReused: http.StatusUnprocessableEntity, codeInternal: http.StatusInternalServerError, codeFull: http.StatusServiceUnavailable,
	codeUnavailable: http.StatusServiceUnavailable, codeNoKeys: http.StatusNotImplemented,
	codeClientError: http.StatusBadRequest, codeClientTimeout: http.StatusGatewayTimeout,
}

// commonCodes are those that every operation may be refused with.
var commonCodes = []code{
	codeInvalid, codeUnauthorized, codeTokenInvalid, codeTokenExpired, codeTokenNotYetValid, codeTokenAudience, codeOrigin, codeRateLimited, codeInternal,
	codeUnavailable,
}

// openAPI describes operations.
func openAPI(operations []operation) []byte {
	paths := object{}
	for i := range operations {
		op := &operations[i]
		for n, path := range op.paths {
			item, _ := paths[path].(object)
			if item == nil {
				item = object{}
				paths[path] = item
			}
			for _, method := range op.methods {
				item[strings.ToLower(method)] = op.describe(path, method, n)
			}
		}
	}
	document, err := json.Marshal(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Hubstream", "version": "1", "description": "What backends call. Each operation is at our own path, at Azure SignalR Service's, or at both.",
		},
		"paths": paths,
		"components": object{
			"parameters": apiParameters, "schemas": apiSchemas,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
		},
		"security": []object{{"token": []string{}}},
	})
	if err != nil {
		panic(err) // it holds nothing but maps and strings
	}
	return document
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func (op *operation) describe(path, method string, n int) object {
	id := op.id
	if n > 0 || method == http.MethodHead {
		id += strconv.Itoa(n+1) + strings.ToLower(method) // IDs are unique
	}
	parameters := []object{}
	for _, match := range pathParameter.FindAllStringSubmatch(path, -1) {
		parameters = append(parameters, reference("parameters", match[1]))
	}
	for _, name := range op.query {
		parameters = append(parameters, reference("parameters", name))
	}
	if strings.Contains(path, "{hub}") && op.id != "send" {
		parameters = append(parameters, reference("parameters", "api-version"))
	}
	if strings.Contains(path, "{hub}") {
		parameters = append(parameters, reference("parameters", "application"))
	}
	described := object{"operationId": id, "summary": op.summary, "parameters": parameters, "responses": op.responses(method)}
	if op.body != "" {
		described["requestBody"] = apiBodies[op.body]
	}
	if op.answer == "receipt" {
		described["parameters"] = append(parameters, reference("parameters", keyHeader))
	}
	if op.bare != nil {
		described["security"] = []object{}
		described["parameters"] = []object{}
	}
	return described
}

func (op *operation) responses(method string) object {
	responses := object{}
	for status, codes := range op.refusals() {
		responses[strconv.Itoa(status)] = object{
			"description": "refused: " + strings.Join(codes, ", "),
			"content": object{"application/json": object{"schema": object{
				"allOf": []object{reference("schemas", "error")}, "properties": object{"code": object{"enum": codes}},
			}}},
		}
	}
	success := object{"description": "done"}
	if answer, ok := apiAnswers[op.answer]; ok && method != http.MethodHead {
		success["content"] = object{answer.mediaType: object{"schema": answer.schema}}
	}
	for _, status := range op.statuses() {
		responses[strconv.Itoa(status)] = success
	}
	return responses
}

// statuses are those of success: Azure's older paths answer differently.
func (op *operation) statuses() []int {
	switch op.id {
	case "closeConnection", "joinUser":
		return []int{http.StatusOK, http.StatusAccepted}
	case "leaveUser", "leaveUserAll":
		return []int{http.StatusOK, http.StatusAccepted, http.StatusNoContent}
	}
	return []int{op.status}
}

// refusals are the codes that the operation may be refused with, by status.
func (op *operation) refusals() map[int][]string {
	byStatus := map[int][]string{}
	codes := op.codes
	if op.bare == nil {
		codes = append(slices.Clone(commonCodes), codes...)
	}
	for _, c := range codes {
		status := codeStatuses[c]
		byStatus[status] = append(byStatus[status], string(c))
	}
	return byStatus
}

func reference(kind, name string) object { return object{"$ref": "#/components/" + kind + "/" + name} }

// codeNames are all codes.
func codeNames() []string {
	names := []string{}
	for c := range maps.Keys(codeStatuses) {
		names = append(names, string(c))
	}
	slices.Sort(names)
	return names
}
