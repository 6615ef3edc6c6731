package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Template is a URL in which {hub}, {category} and {event} stand for what a request is about.
type Template struct {
	text  string
	parts []part
	host  string // what it may only ever lead to
}

// part is a piece of a template: text as it is, or a parameter.
type part struct {
	text      string
	parameter string
	inQuery   bool
}

// ErrUnsafe says that a client's text cannot stand in the path of a URL: servers could take it for another path.
var ErrUnsafe = errors.New("the name cannot be part of a URL's path")

// ParseTemplate reads a template. Parameters are allowed in the path and the query only: a client's text must not choose where a
// request goes. {@env:NAME} is replaced, once and for all, by what env returns.
func ParseTemplate(text string, env func(string) string) (*Template, error) {
	text, err := expand(text, env)
	if err != nil {
		return nil, err
	}
	t := &Template{text: text}
	rest, inQuery := text, false
	for {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			break
		}
		size := strings.IndexByte(rest[open:], '}')
		if size < 0 {
			return nil, errors.New("a { has no }")
		}
		name := rest[open+1 : open+size]
		if name != "hub" && name != "category" && name != "event" {
			return nil, fmt.Errorf("there is no parameter {%s}, only {hub}, {category} and {event}", name)
		}
		inQuery = inQuery || strings.Contains(rest[:open], "?")
		t.parts = append(t.parts, part{text: rest[:open]}, part{parameter: name, inQuery: inQuery})
		rest = rest[open+size+1:]
	}
	t.parts = append(t.parts, part{text: rest})
	u, err := url.Parse(t.parts[0].text)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL") // the error would repeat it, and it may hold a key
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("it does not begin with http:// or https:// and a host")
	case u.Path == "" && len(t.parts) > 1 && u.RawQuery == "" && !strings.Contains(t.parts[0].text, "?"):
		return nil, errors.New("a parameter stands in its host")
	case strings.Contains(text, "#"):
		return nil, errors.New("it has a fragment, which is sent nowhere")
	}
	t.host = u.Host
	if _, err := t.URL("hub", "category", "event"); err != nil {
		return nil, errors.New("it is not a URL")
	}
	return t, nil
}

// expand replaces {@env:NAME}.
func expand(text string, env func(string) string) (string, error) {
	const begin = "{@env:"
	for {
		i := strings.Index(text, begin)
		if i < 0 {
			return text, nil
		}
		size := strings.IndexByte(text[i:], '}')
		if size < 0 {
			return "", errors.New("a { has no }")
		}
		name := text[i+len(begin) : i+size]
		value := env(name)
		if value == "" {
			return "", fmt.Errorf("the variable %s is not set", name)
		}
		text = text[:i] + value + text[i+size+1:]
	}
}

// URL is the template with its parameters. ErrUnsafe if one of them cannot stand where it would.
func (t *Template) URL(hub, category, event string) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		value := ""
		switch p.parameter {
		case "":
			b.WriteString(p.text)
			continue
		case "hub":
			value = hub
		case "category":
			value = category
		case "event":
			value = event
		}
		if p.inQuery {
			b.WriteString(url.QueryEscape(value))
			continue
		}
		if !safe(value) {
			return "", ErrUnsafe
		}
		b.WriteString(url.PathEscape(value))
	}
	made := b.String()
	u, err := url.Parse(made)
	if err != nil || u.Host != t.host {
		return "", ErrUnsafe
	}
	for segment := range strings.SplitSeq(u.Path, "/") { // of several parameters, or of one and text around it
		if isDots(segment) {
			return "", ErrUnsafe
		}
	}
	return made, nil
}

// safe tells whether a text can stand in a path. Escaped it is only one part of it, but servers and proxies are known to unescape
// before they look at slashes, dots and semicolons.
func safe(value string) bool {
	if value == "" || isDots(value) {
		return false
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' || c == 0x7f || c == '/' || c == '\\' || c == ';' || c == '%' {
			return false
		}
	}
	return true
}

func isDots(s string) bool { return s == "." || s == ".." }

// Host is the host, with its port, that the template leads to.
func (t *Template) Host() string { return t.host }
