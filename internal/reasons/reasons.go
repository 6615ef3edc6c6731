// Package reasons tells apart the errors of attempts that go on failing, so that each reason is told once however often it comes.
package reasons

import "regexp"

// Told are the reasons that were told. The zero value has none. Not for concurrent use.
type Told struct {
	known map[string]bool
}

// most limits those that are told, of which there are a few.
const most = 20

// Add returns an error's text, without what says nothing of the reason, and whether it is to be told: it is not yet.
func (t *Told) Add(err error) (reason string, fresh bool) {
	reason = ownAddress.ReplaceAllString(err.Error(), "")
	known := theTime.ReplaceAllString(reason, "")
	if t.known[known] || len(t.known) >= most {
		return reason, false
	}
	if t.known == nil {
		t.known = map[string]bool{}
	}
	t.known[known] = true
	return reason, true
}

// Any tells whether there are any.
func (t *Told) Any() bool { return len(t.known) > 0 }

// ownAddress is what the network's errors have of this machine's end of a connection, whose port is another at each attempt.
var ownAddress = regexp.MustCompile(`[^\s>]+->`)

// theTime is what errors of certificates that are not valid now say of when that is.
var theTime = regexp.MustCompile(`current time \S+`)
