package streams

import (
	"context"
	"crypto/sha1"
	_ "embed" // the scripts
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"hubstream/internal/sleep"
)

// What scripts share.
var (
	//go:embed scripts/blank.lua
	blankLua string
	//go:embed scripts/lib.lua
	libFile string
	libLua  = blankLua + libFile
	//go:embed scripts/record.lua
	recordLua string
	//go:embed scripts/worklib.lua
	workLua string
	//go:embed scripts/bundlelib.lua
	bundleLua string
	//go:embed scripts/users.lua
	usersLua string
)

// The scripts, one step each.
var (
	//go:embed scripts/verify.lua
	verifyLua string
	//go:embed scripts/batch.lua
	batchLua string
	//go:embed scripts/bundles.lua
	bundlesLua string
	//go:embed scripts/trim.lua
	trimLua string
	//go:embed scripts/open.lua
	openLua string
	//go:embed scripts/lookup.lua
	lookupLua string
	//go:embed scripts/handshake.lua
	handshakeLua string
	//go:embed scripts/abandon.lua
	abandonLua string
	//go:embed scripts/answer.lua
	answerLua string
	//go:embed scripts/polls.lua
	pollsLua string
	//go:embed scripts/continue.lua
	continueLua string
	//go:embed scripts/wrote.lua
	wroteLua string
	//go:embed scripts/touch.lua
	touchLua string
	//go:embed scripts/finish.lua
	finishLua string
	//go:embed scripts/join.lua
	joinLua string
	//go:embed scripts/close.lua
	closeLua string
	//go:embed scripts/end.lua
	endLua string
	//go:embed scripts/expired.lua
	expiredLua string
	//go:embed scripts/userjoin.lua
	userJoinLua string
	//go:embed scripts/userleave.lua
	userLeaveLua string
	//go:embed scripts/usersettle.lua
	userSettleLua string
	//go:embed scripts/usertidy.lua
	userTidyLua string
	//go:embed scripts/usersdue.lua
	usersDueLua string
	//go:embed scripts/usergroups.lua
	userGroupsLua string
	//go:embed scripts/restamp.lua
	restampLua string
	//go:embed scripts/beat.lua
	beatLua string
	//go:embed scripts/report.lua
	reportLua string
	//go:embed scripts/accept.lua
	acceptLua string
	//go:embed scripts/next.lua
	nextLua string
	//go:embed scripts/reply.lua
	replyLua string
	//go:embed scripts/adopt.lua
	adoptLua string
	//go:embed scripts/keep.lua
	keepLua string
)

// When memory is full, a script without a flag is refused before it begins. Those
// that make room, and those that only keep what is there alive, run all the same.
const (
	growing  = "#!lua\n"
	anyway   = "#!lua flags=allow-oom\n"
	readOnly = "#!lua flags=no-writes\n"
)

var (
	verifyScript    = newScript(anyway, libLua, bundleLua, verifyLua)
	trimScript      = newScript(anyway, libLua, trimLua)
	openScript      = newScript(growing, libLua, recordLua, pollsLua, openLua)
	openFullScript  = newScript(anyway, libLua, recordLua, pollsLua, openLua)
	lookupScript    = newScript(readOnly, libLua, recordLua, lookupLua)
	handshakeScript = newScript(growing, libLua, workLua, handshakeLua)
	answerScript    = newScript(anyway, libLua, answerLua)
	continueScript  = newScript(anyway, libLua, pollsLua, continueLua)
	wroteScript     = newScript(anyway, wroteLua)
	abandonScript   = newScript(anyway, libLua, recordLua, abandonLua)
	touchScript     = newScript(anyway, libLua, touchLua)
	finishScript    = newScript(growing, libLua, finishLua)
	joinScript      = newScript(growing, libLua, joinLua)
	closeScript     = newScript(anyway, libLua, closeLua)
	endScript       = newScript(anyway, libLua, recordLua, workLua, endLua)
	expiredScript   = newScript(readOnly, libLua, expiredLua)
	restampScript   = newScript(anyway, restampLua)
	beatScript      = newScript(anyway, libLua, beatLua)
	reportScript    = newScript(anyway, libLua, reportLua)
	acceptScript    = newScript(growing, libLua, workLua, acceptLua)
	nextScript      = newScript(anyway, libLua, workLua, nextLua) // frees what it takes
	replyScript     = newScript(growing, libLua, workLua, replyLua)
	adoptScript     = newScript(anyway, libLua, workLua, adoptLua)
	keepScript      = newScript(anyway, libLua, workLua, keepLua)
)

var (
	batchScript      = newScript(growing, blankLua, batchLua)
	bundlesScript    = newScript(growing, bundleLua, bundlesLua)
	userJoinScript   = newScript(growing, libLua, usersLua, userJoinLua)
	userLeaveScript  = newScript(anyway, libLua, usersLua, userLeaveLua)
	userSettleScript = newScript(anyway, libLua, usersLua, userSettleLua)
	userTidyScript   = newScript(anyway, libLua, usersLua, userTidyLua)
	usersDueScript   = newScript(readOnly, libLua, usersDueLua)
	userGroupsScript = newScript(readOnly, libLua, usersLua, userGroupsLua)
)

// script is a script with the name that the server knows it by.
type script struct{ text, sha string }

func newScript(parts ...string) *script {
	s := script{text: strings.Join(parts, "")}
	sum := sha1.Sum([]byte(s.text))
	s.sha = hex.EncodeToString(sum[:])
	return &s
}

// repeatPause is the first pause before a script is repeated; it doubles.
const repeatPause = 10 * time.Millisecond

// errNoLog is the status of a script that needs a log where there is none.
var errNoLog = errors.New("no log")

// run runs a script of a hub: repeated when its answer is lost, and after making the
// log if there is none. It returns what the script answers after its status.
func (v *Valkey) run(ctx context.Context, hub string, s *script, keys, args []string) ([]valkey.ValkeyMessage, error) {
	ctx, end, err := v.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	var reply []valkey.ValkeyMessage
	err = v.withLog(ctx, hub, func() (err error) {
		reply, err = v.repeat(ctx, hub, s, keys, args)
		return err
	})
	return reply, err
}

// withLog makes the log if a step finds none, and does the step again.
func (v *Valkey) withLog(ctx context.Context, hub string, step func() error) error {
	err := step()
	if err != errNoLog {
		return err
	}
	if _, err := v.verify(ctx, hub, VerifyRequest{}); err != nil {
		return err
	}
	if err = step(); err == errNoLog {
		return fmt.Errorf("%w: the log was lost again", ErrUnavailable)
	}
	return err
}

func (v *Valkey) repeat(ctx context.Context, hub string, s *script, keys, args []string) ([]valkey.ValkeyMessage, error) {
	for pause := repeatPause; ; pause *= 2 {
		reply, err := v.evaluateJoined(ctx, hub, s, keys, args)
		if err == nil {
			list, err := reply.ToArray()
			if err != nil {
				return nil, errAnswer
			}
			return status(list)
		}
		v.observe(err)
		mapped, repeatable := classify(err)
		if !repeatable || ctx.Err() != nil || sleep.For(ctx, pause) != nil {
			return nil, mapped
		}
	}
}

// status reads the first element of a script's answer.
func status(reply []valkey.ValkeyMessage) ([]valkey.ValkeyMessage, error) {
	if len(reply) == 0 {
		return nil, errAnswer
	}
	text, err := reply[0].ToString()
	switch {
	case err != nil:
		return nil, errAnswer
	case text == "ok":
		return reply[1:], nil
	case text == "nolog":
		return nil, errNoLog
	}
	if err := statusErrors[text]; err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: %q", errAnswer, text)
}

// errAnswer says that an answer is not what its command's should be.
var errAnswer = fmt.Errorf("%w: unexpected answer", ErrRefused)

// evaluateJoined is evaluate for a script of a hub, which may have to wait for others, and goes together with others.
func (v *Valkey) evaluateJoined(ctx context.Context, hub string, s *script, keys, args []string) (valkey.ValkeyMessage, error) {
	if reply, known, err := v.evaluateBound(ctx, Bucket(hub), s, keys, args); known {
		return reply, err
	}
	reply, err := v.evaluators[Bucket(hub)].do(ctx, v.evalsha(s, keys, args))
	if hasReply(err, "NOSCRIPT ") {
		return v.evaluate(ctx, s, keys, args).ToMessage()
	}
	return reply, err
}

// evaluate runs a script once, by its name if the server knows it.
func (v *Valkey) evaluate(ctx context.Context, s *script, keys, args []string) valkey.ValkeyResult {
	return v.withText(ctx, v.main.Do(ctx, v.evalsha(s, keys, args)), s, keys, args)
}

func (v *Valkey) evalsha(s *script, keys, args []string) valkey.Completed {
	return v.main.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// withText runs a script by its text if the server answered that it does not know its name.
func (v *Valkey) withText(ctx context.Context, result valkey.ValkeyResult, s *script, keys, args []string) valkey.ValkeyResult {
	if !hasReply(result.Error(), "NOSCRIPT ") {
		return result
	}
	return v.main.Do(ctx, v.eval(s, keys, args))
}

func (v *Valkey) eval(s *script, keys, args []string) valkey.Completed {
	return v.main.B().Eval().Script(s.text).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}
