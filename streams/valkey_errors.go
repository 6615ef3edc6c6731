package streams

import (
	"errors"
	"fmt"
	"strings"

	"github.com/valkey-io/valkey-go"
)

// passingReplies are the error replies that trying again may mend. Nothing was changed by
// a command that was answered with one of them, or, by the last two, nothing that a repetition would not go on from: a
// cluster gives the slot to another server, and one has some keys of the script, the other the rest.
var passingReplies = []string{
	"LOADING ", "READONLY ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "MOVED ", "ASK ",
	"NOREPLICAS ", "MISCONF ", "BUSY ", "UNBLOCKED ", "EXECABORT ",
	"Script attempted to access a non local key ", "Unable to execute command ",
}

// errPassing is an ErrUnavailable that trying again may mend.
var errPassing = fmt.Errorf("%w for now", ErrUnavailable)

// classify maps an error of the library to one of a Store's, and tells whether trying
// again may mend it: then it is an errPassing.
func classify(err error) (mapped error, repeatable bool) {
	if err == nil {
		return nil, false
	}
	reply, ok := valkey.IsValkeyErr(err)
	if !ok {
		return fmt.Errorf("%w: %w", errPassing, err), true
	}
	text := reply.Error()
	if strings.HasPrefix(text, "OOM ") {
		return fmt.Errorf("%w: %s", ErrFull, text), false
	}
	for _, prefix := range passingReplies {
		if strings.HasPrefix(text, prefix) {
			return fmt.Errorf("%w: %s", errPassing, text), true
		}
	}
	return fmt.Errorf("%w: %s", ErrRefused, text), false
}

// classifyAppend is classify for a command that must not be made twice: unless it is
// certain that the server did not execute it, the outcome is unknown.
func classifyAppend(err error) error {
	var notSent *notSentError
	if _, replied := valkey.IsValkeyErr(err); err == nil || replied || errors.As(err, &notSent) {
		err, _ = classify(err)
		return err
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

func isReadOnly(err error) bool  { return hasReply(err, "READONLY ") }
func isForbidden(err error) bool { return hasReply(err, "NOPERM ") }

// isSentOn tells whether a cluster's server named another to ask.
func isSentOn(err error) bool { return hasReply(err, "MOVED ") || hasReply(err, "ASK ") }

func hasReply(err error, prefix string) bool {
	reply, ok := valkey.IsValkeyErr(err)
	return ok && strings.HasPrefix(reply.Error(), prefix)
}

// statusErrors are what scripts answer instead of "ok".
var statusErrors = map[string]error{
	"unverified": ErrUnverified,
	"gone":       ErrGone,
	"generation": ErrGeneration,
	"transport":  ErrTransport,
	"conflict":   ErrConflict,
	"owner":      ErrOwner,
	"unheard":    ErrUnheard,
	"gap":        ErrGap,
	"beyond":     ErrBeyond,
	"toomany":    ErrTooManyGroups,
	"reused":     ErrKeyReused,
	"full":       ErrFull,
	"busy":       ErrBusy,
}
