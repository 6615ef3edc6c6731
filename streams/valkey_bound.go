package streams

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"
)

// A step that is to happen only in the process that a log was verified in asks for that process's run ID. INFO, which tells it, is an
// eighth of what it takes Valkey to open a connection, and a fifth of a poll's answer. So some scripts are bound to a process: they have
// its run ID in their text. A process keeps scripts in its memory alone; neither its replicas nor whoever comes after it have them. So
// who knows a bound script by its name is the process, as long as no other is ever given the text. It is loaded on a connection
// that has told the run ID just before, and never sent to be executed. Who does not know the name is sent the script that is not bound.

// bindings are the processes' bound scripts, and which of the processes keeps each bucket.
type bindings struct {
	buckets [Buckets]atomic.Pointer[boundScripts] // nil: none

	mu sync.Mutex
	// guarded by mu
	processes map[string]*boundScripts // by run ID
	tried     map[string]time.Time     // when they were loaded, or would not be
}

// boundScripts are the names of scripts that are bound to one process, by those that are not bound.
type boundScripts struct {
	run    string
	loaded map[*script]*script
}

// loadPause is the time between two attempts to load scripts into one process.
const loadPause = 10 * time.Second

// bindable are the scripts that are executed often and ask for the process.
var bindable = [...]*script{openScript, continueScript}

// boundTo returns the script for the process with a run ID, which is told behind what all scripts share, in place of what asks for it.
func (s *script) boundTo(run string) *script {
	flags, body, _ := strings.Cut(s.text, libLua)
	return newScript(flags, libLua, "local function process()\n  return '", run, "'\nend\n", body)
}

// evaluateBound runs a script that is bound to the bucket's process, if there is one and the process knows it.
func (v *Valkey) evaluateBound(ctx context.Context, bucket int, s *script, keys, args []string) (reply valkey.ValkeyMessage, known bool, err error) {
	b := v.bindings.buckets[bucket].Load()
	if b == nil || b.loaded[s] == nil {
		return reply, false, nil
	}
	reply, err = v.evaluators[bucket].do(ctx, v.evalsha(b.loaded[s], keys, args))
	if hasReply(err, "NOSCRIPT ") { // it is another process, or has been told to forget all scripts
		v.bindings.forget(bucket, b)
		return reply, false, nil
	}
	return reply, true, err
}

// bind lets a bucket, whose process has just told its run ID, use the scripts that are bound to it. If the process does not have them yet
// it gets them, for which nobody waits; where that fails nothing is lost but time.
func (v *Valkey) bind(bucket int, run string) {
	if has := v.bindings.buckets[bucket].Load(); has != nil && has.run == run || !isRunID(run) || !v.bindings.misses(bucket, run) {
		return
	}
	v.inBackground(func() {
		ctx, end, err := v.begin(context.Background())
		if err != nil {
			return
		}
		defer end()
		if loaded, err := v.load(ctx, bucket, run); err == nil {
			v.bindings.found(bucket, &boundScripts{run, loaded})
		}
	})
}

// misses tells whether a process's scripts are to be loaded now. If they have been, the bucket gets them.
func (b *bindings) misses(bucket int, run string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if has := b.processes[run]; has != nil {
		b.buckets[bucket].Store(has)
		return false
	}
	if time.Since(b.tried[run]) < loadPause {
		return false
	}
	if b.tried == nil || len(b.tried) >= maxProcesses {
		b.processes, b.tried = map[string]*boundScripts{}, map[string]time.Time{}
	}
	b.tried[run] = time.Now()
	return true
}

// maxProcesses limits those that are remembered, most of which are gone.
const maxProcesses = 100

func (b *bindings) found(bucket int, scripts *boundScripts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.processes[scripts.run] = scripts
	b.buckets[bucket].Store(scripts)
}

// forget is told that a bucket's process does not know a script of these.
func (b *bindings) forget(bucket int, scripts *boundScripts) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buckets[bucket].CompareAndSwap(scripts, nil)
	if b.processes[scripts.run] == scripts {
		delete(b.processes, scripts.run)
		delete(b.tried, scripts.run)
	}
}

// isRunID tells whether a text is one, and so can stand in a script.
func isRunID(text string) bool {
	_, err := hex.DecodeString(text)
	return len(text) == 40 && err == nil
}

var errOtherProcess = errors.New("it is another process of Valkey")

// load loads the scripts that are bound to a bucket's process, on one connection to it.
func (v *Valkey) load(ctx context.Context, bucket int, run string) (map[*script]*script, error) {
	conn, _ := v.main.Dedicate()
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
		loaded[s] = &script{sha: bound.sha}
	}
	return loaded, nil
}
