package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Rule says which events go to a URL. A pattern is "*", a name, or names separated by commas.
type Rule struct {
	Template *Template
	Hubs     Pattern // without regard to case
	// Categories are "connections" and "messages".
	Categories Pattern
	// Events are "connected" and "disconnected", or the names of hub methods, with regard to case.
	Events Pattern
	// Header goes along with every request.
	Header http.Header
}

// Pattern is what a rule demands of a name; nil takes every name.
type Pattern []string

func parsePattern(text string) Pattern {
	var p Pattern
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name == "*" {
			return nil
		} else if name != "" {
			p = append(p, name)
		}
	}
	return p
}

func (p Pattern) matches(name string) bool { return p == nil || slices.Contains(p, name) }

func (p Pattern) matchesFold(name string) bool {
	return p == nil || slices.ContainsFunc(p, func(s string) bool { return strings.EqualFold(s, name) })
}

func (r *Rule) matches(hub, category, event string) bool {
	return r.Hubs.matchesFold(hub) && r.Categories.matches(category) && r.Events.matches(event)
}

// fileTemplate is a rule as Azure's emulator and its resources write it, and Headers, which are ours. Names may be in any case.
type fileTemplate struct {
	URLTemplate     string `json:"UrlTemplate"`
	HubPattern      string
	CategoryPattern string
	EventPattern    string
	Auth            *struct{ Type string }
	Headers         map[string]string
}

// Parse reads rules in JSON, in their order:
//
//	{"UpstreamSettings": {"Templates": [{"UrlTemplate": "https://...", "HubPattern": "*",
//	  "CategoryPattern": "connections,messages", "EventPattern": "*", "Headers": {"Authorization": "{@env:KEY}"}}]}}
//
// as in the settings.json of Azure's emulator; "upstream" in place of "UpstreamSettings", as in Azure's resources, and
// "Templates" alone are read, too. A pattern that is left out is "*".
func Parse(data []byte, env func(string) string) ([]Rule, error) {
	type templates struct{ Templates []json.RawMessage }
	var file struct {
		UpstreamSettings, Upstream *templates
		templates
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("it is not JSON of the form {\"UpstreamSettings\":{\"Templates\":[...]}}: %w", err)
	}
	list := file.Templates
	for _, in := range []*templates{file.UpstreamSettings, file.Upstream} {
		if in != nil {
			list = append(list, in.Templates...)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("it has no Templates")
	}
	rules := make([]Rule, 0, len(list))
	for i, raw := range list {
		r, err := parseRule(raw, env)
		if err != nil {
			return nil, fmt.Errorf("Templates[%d]: %w", i, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(raw []byte, env func(string) string) (Rule, error) {
	var t fileTemplate
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return Rule{}, err
	}
	if t.Auth != nil && t.Auth.Type != "" && !strings.EqualFold(t.Auth.Type, "None") {
		return Rule{}, fmt.Errorf("Auth.Type: %q is not there, only None; a header for Authorization can be put into Headers", t.Auth.Type)
	}
	template, err := ParseTemplate(t.URLTemplate, env)
	if err != nil {
		return Rule{}, fmt.Errorf("UrlTemplate: %w", err)
	}
	r := Rule{
		Template: template, Hubs: parsePattern(t.HubPattern), Categories: parsePattern(t.CategoryPattern), Events: parsePattern(t.EventPattern),
		Header: http.Header{},
	}
	for _, c := range r.Categories {
		if c != CategoryConnections && c != CategoryMessages {
			return Rule{}, fmt.Errorf("CategoryPattern: %q is neither %s nor %s", c, CategoryConnections, CategoryMessages)
		}
	}
	for name, value := range t.Headers {
		if value, err = expand(value, env); err != nil {
			return Rule{}, fmt.Errorf("Headers: %s: %w", name, err)
		}
		if strings.HasPrefix(textproto.CanonicalMIMEHeaderKey(name), "X-Asrs-") || strings.ContainsAny(value, "\r\n") {
			return Rule{}, fmt.Errorf("Headers: %s cannot be set", name)
		}
		r.Header.Set(name, value)
	}
	return r, nil
}
