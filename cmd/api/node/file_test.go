package node_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"hubstream/cmd/api/node"
)

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hubstream.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every setting can be in a file, as text; lists, numbers, sizes and truth values also as such.
func TestEverySettingCanBeInAFile(t *testing.T) {
	t.Parallel()
	for _, s := range each {
		if s.field == nil {
			continue
		}
		c, err := node.Parse([]string{"-config", writeFile(t, fmt.Sprintf("%s = %q\n", s.name, s.value))}, none)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		if got := s.field(c); !reflect.DeepEqual(got, s.want) {
			t.Errorf("%s: got %v, want %v", s.name, got, s.want)
		}
	}
	c, err := node.Parse(nil, only("config", writeFile(t, "valkey = [\"a:1\", \"b:2\"]\ndev = true\nmax-message = 65536\ntrace-sample = 0.25\n")))
	if err != nil || !reflect.DeepEqual(c.Valkey, []string{"a:1", "b:2"}) || !c.Dev || c.MaxMessageBytes != 65536 || c.TraceSample != 0.25 {
		t.Errorf("got %v, %+v", err, c)
	}
}

func TestFlagWinsOverEnvironmentOverFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "drain = \"1s\"\nkeep-alive = \"1s\"\npoll-timeout = \"1s\"\n")
	env := func(name string) string {
		return map[string]string{variable("drain"): "2s", variable("keep-alive"): "2s", variable("config"): path}[name]
	}
	c, err := node.Parse([]string{"-drain", "3s"}, env)
	if err != nil {
		t.Fatal(err)
	}
	if c.Drain != 3*time.Second || c.KeepAlive != 2*time.Second || c.PollTimeout != time.Second {
		t.Errorf("got drain %v (flag 3s), keep-alive %v (environment 2s), poll-timeout %v (file 1s)", c.Drain, c.KeepAlive, c.PollTimeout)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, word := range map[string]string{
		"listne = \"x\"\n":                       "listne",
		"config = \"x\"\n":                       "config",
		"drain = 1.5\n":                          "drain",
		"drain = 1979-05-27\n":                   "drain",
		"trace-sample = nan\n":                   "trace-sample",
		"drain = \"soon\"\n":                     "drain",
		"[valkey]\nx = 1\n":                      "valkey",
		"valkey = [1]\n":                         "valkey",
		"secret = \"hunter2\"\n":                 "secret",
		"\nsecret = hunter2\n":                   "line 2",
		"secret = \"a\"\nsecret = \"hunter2\"\n": "line 2",
	} {
		_, err := node.Parse([]string{"-config", writeFile(t, text)}, none)
		checkError(t, err, word, "hubstream.toml")
	}
}

// What check prints is a file of the same settings, but for the secrets.
func TestCheckShowsWhatIsInForceWithoutSecrets(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "drain = \"7s\"\n")
	var out bytes.Buffer
	args := []string{"check", "-config", path, "-valkey", "valkey://user:hunter2@a:1", "-secret", "hunter2hunter2hunter2", "-node", "n1"}
	if err := node.Run(t.Context(), args, only("keep-alive", "9s"), &out, &out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"drain = \"7s\"  # " + path + ": drain", "keep-alive = \"9s\"  # HUBSTREAM_KEEP_ALIVE", "node = \"n1\"  # -node",
		"valkey = \"valkey://user:xxxxx@a:1\"  # -valkey", "dev = false\n", "secret = \"(hidden)\"",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("it shows a secret:\n%s", text)
	}
	text = regexp.MustCompile(`(?m)^(secret|valkey|config) .*$`).ReplaceAllString(text, "")
	if c, err := node.Parse([]string{"-config", writeFile(t, text)}, none); err != nil || c.Drain != 7*time.Second || c.KeepAlive != 9*time.Second {
		t.Errorf("as a file it gives %v, %+v", err, c)
	}
	checkError(t, node.Run(t.Context(), []string{"check", "-drain", "x"}, none, &out, &out), "-drain", "duration")
}

// A node that would not start for what is in a file, or is no address, is told so by check: the unit for systemd asks it first.
func TestCheckFindsWhatWouldEndTheStart(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ setting, value, word string }{
		{"-access-keys-file", "/nonexistent", "no such file"},
		{"-access-keys-file", writeFile(t, "hunter2\n"), "at least 16"},
		{"-access-keys-file", writeFile(t, "# none\n"), "no key"},
		{"-upstream-file", "/nonexistent", "no such file"},
		{"-upstream-file", writeFile(t, "{}"), "Templates"},
		{"-upstream", "http://a.example/{@env:NOPE}", "NOPE"},
		{"-valkey", "localhost", "port"},
		{"-valkey", "a:1,b:1", "one address"},
	} {
		checkError(t, node.Run(t.Context(), []string{"check", v.setting, v.value}, none, io.Discard, io.Discard), v.setting, v.word)
	}
}

func TestReferencePageIsCurrent(t *testing.T) {
	t.Parallel()
	var want bytes.Buffer
	if err := node.Run(t.Context(), []string{"settings"}, none, &want, &want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("docs/configuration.md is not what the settings are (%v): run \"make docs\"", err)
	}
	for _, s := range each {
		if !strings.Contains(want.String(), "| `-"+s.name+"` |") {
			t.Errorf("the page lacks -%s", s.name)
		}
	}
}

// The profiler is there only when it is asked for, and never where the clients are.
func TestProfilerHasAnAddressOfItsOwn(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	n := start(t, "-pprof", address)
	if status, text, _ := n.do("GET", "/debug/pprof/", ""); status != http.StatusNotFound {
		t.Errorf("on the clients' address: %d %s", status, text)
	}
	for path, want := range map[string]int{"/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/cmdline": 403, "/healthz": 404} {
		r, err := http.NewRequest("GET", "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, answer.StatusCode, want)
		}
	}
}
