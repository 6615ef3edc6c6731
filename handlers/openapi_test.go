package handlers_test

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"hubstream/handlers"
)

// document is as much of the OpenAPI document as the tests need.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]described
	Components map[string]map[string]any
}

type described struct {
	OperationID string
	Parameters  []map[string]any
	RequestBody struct {
		Content map[string]struct {
			Schema struct {
				Ref  string `json:"$ref"`
				Type string
			}
		}
	}
	Responses map[string]struct {
		Content map[string]struct {
			Schema struct {
				Properties struct{ Code struct{ Enum []string } }
			}
		}
	}
}

// allows tells whether an operation says that it may be answered so; code is empty for a success.
func (d *described) allows(status, code string) bool {
	response, ok := d.Responses[status]
	if !ok || code == "" {
		return ok
	}
	return slices.Contains(response.Content["application/json"].Schema.Properties.Code.Enum, code)
}

func (f *fixture) document() document {
	f.t.Helper()
	var d document
	f.read("/api/openapi.json", &d)
	return d
}

// The verbs that need no slash are one route of echo's.
const verbRoute = "POST /api/hubs/{hub}"

func TestEveryRouteIsInTheDocumentAndTheOtherWayRound(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	var served, documented []string
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, route := range f.Routes() {
		if strings.HasPrefix(route.Path, "/api/") {
			path := strings.ReplaceAll(route.Path, `\:`, "\x00")
			served = append(served, route.Method+" "+strings.ReplaceAll(parameter.ReplaceAllString(path, "{$1}"), "\x00", ":"))
		}
	}
	for path, item := range f.document().Paths {
		for method := range item {
			if strings.HasPrefix(path, "/api/hubs/{hub}:") {
				path = "/api/hubs/{hub}"
			}
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(served)
	slices.Sort(documented)
	if documented = slices.Compact(documented); !slices.Equal(served, documented) || !slices.Contains(served, verbRoute) {
		t.Errorf("served, but not documented: %q\ndocumented, but not served: %q", without(served, documented), without(documented, served))
	}
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

func TestTheDocumentHoldsTogether(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	w := f.do(http.MethodGet, "/api/openapi.json", "")
	var d document
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || d.OpenAPI != "3.1.0" {
		t.Fatalf("%q, %v", d.OpenAPI, err)
	}
	ids := map[string]bool{}
	for path, item := range d.Paths {
		for method, op := range item {
			if ids[op.OperationID] || op.OperationID == "" {
				t.Errorf("%s %s: the ID %q is used twice, or empty", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	for _, match := range regexp.MustCompile(`"\$ref":"#/components/([^/"]+)/([^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
		if d.Components[match[1]][match[2]] == nil {
			t.Errorf("there is no %s %s", match[1], match[2])
		}
	}
	errorSchema := d.Components["schemas"]["error"].(map[string]any)
	code := errorSchema["properties"].(map[string]any)["code"].(map[string]any)
	limits, err := os.ReadFile("../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range code["enum"].([]any) {
		if !strings.Contains(string(limits), "| `"+name.(string)+"` | ") {
			t.Errorf("the code %s is not in docs/limits.md", name)
		}
	}
}

// All that a plain event stream can be asked for: without the last two nobody would know how to go on, or to follow a user.
func TestTheDocumentSaysHowToFollow(t *testing.T) {
	t.Parallel()
	f := newFixture(t, handlers.Config{})
	var d struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Ref string `json:"$ref"`
			}
		}
		Components struct {
			Parameters map[string]struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(f.do(http.MethodGet, "/api/openapi.json", "").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range d.Paths["/api/hubs/{hub}/events"]["get"].Parameters {
		named := d.Components.Parameters[p.Ref[strings.LastIndex(p.Ref, "/")+1:]]
		got = append(got, named.In+" "+named.Name)
	}
	for _, want := range []string{"path hub", "query groups", "query access_token", "query user", "header Last-Event-ID"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %q", want, got)
		}
	}
}
