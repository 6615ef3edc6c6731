package metrics_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	// named matches a metric and its matchers, if any.
	named   = regexp.MustCompile(`\b((?:hubstream|process|go)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	matcher = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouped = regexp.MustCompile(`\bby \(([^)]*)\)`)
	sample  = regexp.MustCompile(`(?m)^([a-z0-9_]+)(?:\{([^}]*)\})? `)
)

// addedLabels are those that Prometheus adds to what it scrapes.
var addedLabels = map[string]bool{"instance": true, "job": true}

// shown is what a node shows: by metric, the values of each of its labels.
func shown(t *testing.T) map[string]map[string]map[string]bool {
	n, _ := serve(t)
	n.Refusals = func() map[string]int64 { return map[string]int64{"full": 1, "internal": 1} } // shown once they have occurred
	all := map[string]map[string]map[string]bool{}
	for _, m := range sample.FindAllStringSubmatch(scrape(n), -1) {
		if all[m[1]] == nil {
			all[m[1]] = map[string]map[string]bool{}
		}
		for _, pair := range matcher.FindAllStringSubmatch(m[2], -1) {
			if all[m[1]][pair[1]] == nil {
				all[m[1]][pair[1]] = map[string]bool{}
			}
			all[m[1]][pair[1]][pair[3]] = true
		}
	}
	return all
}

// problems are what an expression names and no node shows.
func problems(all map[string]map[string]map[string]bool, expr string) (found []string) {
	names := named.FindAllStringSubmatch(expr, -1)
	if len(names) == 0 {
		return []string{"it names no metric"}
	}
	for _, m := range names {
		labels, ok := all[m[1]]
		if !ok {
			found = append(found, "no metric "+m[1])
			continue
		}
		for _, pair := range matcher.FindAllStringSubmatch(m[2], -1) {
			switch {
			case addedLabels[pair[1]]:
			case labels[pair[1]] == nil:
				found = append(found, m[1]+" has no label "+pair[1])
			case pair[2] == "=" && !labels[pair[1]][pair[3]]:
				found = append(found, m[1]+" has no "+pair[1]+"="+pair[3])
			}
		}
		for _, by := range grouped.FindAllStringSubmatch(expr, -1) {
			for _, label := range strings.Split(by[1], ",") {
				if label = strings.TrimSpace(label); !addedLabels[label] && labels[label] == nil {
					found = append(found, m[1]+" has no label "+label)
				}
			}
		}
	}
	return found
}

func TestDashboardAndAlertsNameWhatNodesShow(t *testing.T) {
	t.Parallel()
	all := shown(t)
	expressions := append(dashboard(t), rules(t)...)
	if len(expressions) < 30 {
		t.Fatalf("only %d expressions were found", len(expressions))
	}
	used := map[string]bool{}
	for _, expr := range expressions {
		for _, p := range problems(all, expr) {
			t.Errorf("%s: %s", expr, p)
		}
		for _, m := range named.FindAllStringSubmatch(expr, -1) {
			used[strings.TrimSuffix(m[1], "_bucket")] = true
		}
	}
	for name := range all {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "hubstream_") && !used[base] {
			t.Errorf("%s is on no panel and in no alert", name)
		}
	}
}

// The test above finds what it is for.
func TestExpressionsThatNameNothing(t *testing.T) {
	t.Parallel()
	all := shown(t)
	for _, expr := range []string{
		"rate(hubstream_sent_total[1m])", "sum by (hub) (hubstream_connections)", `hubstream_closed_total{reason="bored"}`,
		`hubstream_polls_total{transport="x"}`, "up == 0",
	} {
		if len(problems(all, expr)) == 0 {
			t.Errorf("%s is taken for good", expr)
		}
	}
}

func dashboard(t *testing.T) (expressions []string) {
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	decode(t, "grafana-dashboard.json", json.Unmarshal, &board)
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}

func rules(t *testing.T) (expressions []string) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Summary, Runbook string }
			}
		}
	}
	decode(t, "prometheus-rules.yaml", yaml.Unmarshal, &file)
	runbook, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			expressions = append(expressions, r.Expr)
			_, section, _ := strings.Cut(r.Annotations.Runbook, ", ")
			if r.Annotations.Summary == "" || section == "" || !strings.Contains(string(runbook), "# "+section+"\n") {
				t.Errorf("%s has no summary, or no section %q in docs/operations.md", r.Alert, section)
			}
		}
	}
	return expressions
}

func decode(t *testing.T, name string, unmarshal func([]byte, any) error, into any) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + name)
	if err == nil {
		err = unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
