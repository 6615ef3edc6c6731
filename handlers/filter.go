package handlers

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"hubstream/streams"
)

// A filter selects connections, in the OData that Azure documents for Web PubSub:
//
//	startswith(userId, 'listener-') and not ('muted' in groups)
//	connectionId eq 'u3XnW...' or userId eq null
//
// There are userId (null for a connection without a user), connectionId and groups; texts in quotes, where two stand for one; integers, true,
// false and null; eq, ne, gt, ge, lt, le and in; not, and, or, and parentheses; and the functions below. Their names are in lower case.
type connectionFilter struct{ value filterValue }

// filterValue computes a part of a filter for a connection: string, int, bool, []string (groups) or nil.
type filterValue func(*streams.Record) any

// Limits of a filter.
const (
	maxFilterBytes = 4 << 10 // 4 KiB
	maxFilterDepth = 50
)

// errFilter says what is wrong with a filter.
var errFilter = errors.New("is no filter")

func parseFilter(text string) (*connectionFilter, error) {
	if len(text) > maxFilterBytes || !utf8.ValidString(text) {
		return nil, fmt.Errorf("%w: the limit is %d bytes of UTF-8", errFilter, maxFilterBytes)
	}
	p := filterParser{rest: text}
	p.next()
	value := p.or()
	if p.err == nil && p.token != "" {
		p.fail("nothing is expected at " + strconv.Quote(p.token))
	}
	if p.err != nil {
		return nil, p.err
	}
	return &connectionFilter{value}, nil
}

// selects tells whether a connection is meant. What has no truth selects nothing.
func (f *connectionFilter) selects(r *streams.Record) bool { return isTrue(f.value(r)) }

func isTrue(v any) bool {
	b, _ := v.(bool)
	return b
}

// filterParser goes through a filter token by token. Once err is set all it returns is meaningless.
type filterParser struct {
	rest  string
	token string // empty at the end; a text keeps its first quote
	depth int
	err   error
}

func (p *filterParser) fail(reason string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s", errFilter, reason)
	}
	p.rest, p.token = "", ""
}

func (p *filterParser) next() {
	p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace)
	switch {
	case p.rest == "":
		p.token = ""
	case p.rest[0] == '\'':
		p.text()
	case strings.ContainsRune("(),", rune(p.rest[0])):
		p.take(1)
	default:
		n := strings.IndexFunc(p.rest, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' })
		switch {
		case n == 0:
			p.fail("nothing begins with " + strconv.QuoteRune([]rune(p.rest)[0]))
		case n < 0:
			p.take(len(p.rest))
		default:
			p.take(n)
		}
	}
}

func (p *filterParser) take(n int) { p.token, p.rest = p.rest[:n], p.rest[n:] }

// text takes a text in quotes.
func (p *filterParser) text() {
	b := []byte{'\''}
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != '\'' {
			b = append(b, p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == '\'' {
			b = append(b, '\'')
			i++
			continue
		}
		p.token, p.rest = string(b), p.rest[i+1:]
		return
	}
	p.fail("a quote is not closed")
}

func (p *filterParser) is(token string) bool {
	if p.token != token || p.err != nil {
		return false
	}
	p.next()
	return true
}

func (p *filterParser) want(token string) {
	if !p.is(token) {
		p.fail(token + " is missing")
	}
}

func (p *filterParser) or() filterValue {
	left := p.and()
	for p.is("or") {
		a, b := left, p.and()
		left = func(r *streams.Record) any { return isTrue(a(r)) || isTrue(b(r)) }
	}
	return left
}

func (p *filterParser) and() filterValue {
	left := p.not()
	for p.is("and") {
		a, b := left, p.not()
		left = func(r *streams.Record) any { return isTrue(a(r)) && isTrue(b(r)) }
	}
	return left
}

func (p *filterParser) not() filterValue {
	if p.depth++; p.depth > maxFilterDepth {
		p.fail("it is nested too deeply")
	}
	defer func() { p.depth-- }()
	if p.is("not") {
		a := p.not()
		return func(r *streams.Record) any { return !isTrue(a(r)) }
	}
	return p.comparison()
}

func (p *filterParser) comparison() filterValue {
	left := p.operand()
	compare, ok := comparisons[p.token]
	if !ok || p.err != nil {
		return left
	}
	p.next()
	right := p.operand()
	return func(r *streams.Record) any { return compare(left(r), right(r)) }
}

var comparisons = map[string]func(a, b any) bool{
	"eq": equalValues,
	"ne": func(a, b any) bool { return !equalValues(a, b) },
	"gt": func(a, b any) bool { return order(a, b) == 1 }, "ge": func(a, b any) bool { n := order(a, b); return n == 0 || n == 1 },
	"lt": func(a, b any) bool { return order(a, b) == -1 }, "le": func(a, b any) bool { n := order(a, b); return n == 0 || n == -1 },
	"in": func(a, b any) bool {
		name, isText := a.(string)
		list, isList := b.([]string)
		return isText && isList && slices.Contains(list, name)
	},
}

func equalValues(a, b any) bool {
	if _, isList := a.([]string); isList {
		return false // groups are no value to compare
	}
	if _, isList := b.([]string); isList {
		return false
	}
	return a == b
}

// order is -1, 0 or 1, and something else for what has none.
func order(a, b any) int {
	if a, ok := a.(string); ok {
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	}
	if a, ok := a.(int); ok {
		if b, ok := b.(int); ok {
			return max(-1, min(1, a-b))
		}
	}
	return 2
}

func (p *filterParser) operand() filterValue {
	token := p.token
	switch {
	case p.err != nil:
		return nothing
	case token == "":
		p.fail("it ends too early")
		return nothing
	case p.is("("):
		value := p.or()
		p.want(")")
		return value
	}
	p.next()
	if token[0] == '\'' {
		return constant(token[1:])
	}
	if n, err := strconv.ParseInt(token, 10, 32); err == nil {
		return constant(int(n))
	}
	if value, ok := filterNames[token]; ok {
		return value
	}
	f, ok := filterFunctions[token]
	if !ok {
		p.fail("there is no " + strconv.Quote(token))
		return nothing
	}
	return p.call(f)
}

var filterNames = map[string]filterValue{
	"null": nothing, "true": constant(true), "false": constant(false),
	"connectionId": func(r *streams.Record) any { return r.ID },
	"groups":       func(r *streams.Record) any { return r.OpenGroups() },
	"userId": func(r *streams.Record) any {
		if r.User == "" {
			return nil
		}
		return r.User
	},
}

func nothing(*streams.Record) any { return nil }

func constant(v any) filterValue { return func(*streams.Record) any { return v } }

// filterFunction is a function of one or two texts.
type filterFunction struct {
	parameters int
	f          func(a, b string) any
}

var filterFunctions = map[string]filterFunction{
	"startswith": {2, func(a, b string) any { return strings.HasPrefix(a, b) }},
	"endswith":   {2, func(a, b string) any { return strings.HasSuffix(a, b) }},
	"contains":   {2, func(a, b string) any { return strings.Contains(a, b) }},
	"concat":     {2, func(a, b string) any { return a + b }},
	"tolower":    {1, func(a, _ string) any { return strings.ToLower(a) }},
	"toupper":    {1, func(a, _ string) any { return strings.ToUpper(a) }},
	"trim":       {1, func(a, _ string) any { return strings.TrimSpace(a) }},
	"length":     {1, func(a, _ string) any { return utf8.RuneCountInString(a) }},
}

// call takes a function's arguments. Of what is no text it is null.
func (p *filterParser) call(f filterFunction) filterValue {
	p.want("(")
	a, b := p.or(), constant("")
	if f.parameters == 2 {
		p.want(",")
		b = p.or()
	}
	p.want(")")
	return func(r *streams.Record) any {
		first, ok := a(r).(string)
		second, both := b(r).(string)
		if !ok || !both {
			return nil
		}
		return f.f(first, second)
	}
}
