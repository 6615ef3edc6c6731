package streams

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/valkey-io/valkey-go"
)

// A step that is to happen only in the process that a log was verified in asks for that process's run ID. INFO, which tells it, is an
// eighth of what it takes Valkey to open a connection, and a fifth of a poll's answer. So some scripts are bound to a process: they have
// its run ID in their text. A process keeps scripts in its memory alone; neither its replicas nor whoever comes after it have them. So
// who knows a bound script by its name is the process, as long as no other is ever given the text. It is loaded on a connection
// that has told the run ID just before, and never sent to be executed. Who does not know the name is sent the script that is not bound.

// binding is what of it one bucket has.
type binding struct {
	scripts atomic.Pointer[boundScripts] // nil: none
	loading atomic.Bool
}

// boundScripts are bound to one process.
type boundScripts struct {
	run    string
	loaded map[*script]*script // by those that are not bound; nil if loading is forbidden
}

// bindable are the scripts that are executed often and ask for the process.
var bindable = [...]*script{openScript, continueScript}

// boundTo returns the script for the process with a run ID, which is told behind what all scripts share, in place of what asks for it.
func (s *script) boundTo(run string) *script {
	flags, body, _ := strings.Cut(s.text, libLua)
	return newScript(flags, libLua, "local function process()\n  return '", run, "'\nend\n", body)
}

// evaluateBound runs a script that is bound to the bucket's process, if there is one and the process knows it.
func (v *Valkey) evaluateBound(ctx context.Context, bucket int, s *script, keys, args []string) (reply valkey.ValkeyMessage, known bool, err error) {
	b := v.bindings[bucket].scripts.Load()
	if b == nil || b.loaded[s] == nil {
		return reply, false, nil
	}
	reply, err = v.evaluators[bucket].do(ctx, v.evalsha(b.loaded[s], keys, args))
	if hasReply(err, "NOSCRIPT ") { // it is another process, or has been told to forget all scripts
		v.bindings[bucket].scripts.CompareAndSwap(b, nil)
		return reply, false, nil
	}
	return reply, true, err
}

// bind gives the process of a bucket, which has just told its run ID, the scripts that are bound to it, unless it has them. Nobody waits
// for that, and where it fails nothing is lost but time.
func (v *Valkey) bind(bucket int, run string) {
	b := &v.bindings[bucket]
	if has := b.scripts.Load(); has != nil && has.run == run || !isRunID(run) || !b.loading.CompareAndSwap(false, true) {
		return
	}
	v.inBackground(func() {
		defer b.loading.Store(false)
		ctx, end, err := v.begin(context.Background())
		if err != nil {
			return
		}
		defer end()
		loaded, err := v.load(ctx, bucket, run)
		if err == nil || isForbidden(err) {
			b.scripts.Store(&boundScripts{run: run, loaded: loaded})
		}
	})
}

// isRunID tells whether a text is one, and so can stand in a script.
func isRunID(text string) bool {
	_, err := hex.DecodeString(text)
	return len(text) == 40 && err == nil
}

var errOtherProcess = errors.New("it is another process of Valkey")

// load loads the scripts that are bound to a bucket's process, on one connection to it.
func (v *Valkey) load(ctx context.Context, bucket int, run string) (map[*script]*script, error) {
	conn, _ := v.tails.Dedicate()
	defer conn.Close()
	// The first leads the second to the bucket's server.
	asked := conn.DoMulti(ctx, conn.B().Exists().Key(v.keys.nodes(bucket)).Build(), conn.B().Info().Section("server").Build())
	if err := asked[0].Error(); err != nil {
		return nil, err
	}
	info, err := asked[1].ToString()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(info, "run_id:"+run) {
		return nil, errOtherProcess
	}
	loaded := make(map[*script]*script, len(bindable))
	for _, s := range bindable {
		bound := s.boundTo(run)
		if err := conn.Do(ctx, conn.B().ScriptLoad().Script(bound.text).Build()).Error(); err != nil {
			return nil, err
		}
		loaded[s] = bound
	}
	return loaded, nil
}
