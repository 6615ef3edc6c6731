package node_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"hubstream/cmd/api/node"
)

func TestLogsHideWhatLetsItsHolderIn(t *testing.T) {
	t.Parallel()
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.hunter2_signature"
	address := &url.URL{Scheme: "http", Host: "h", Path: "/hubs/chat", RawQuery: "id=hunter2&access_token=hunter2"}
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := node.NewLogger(node.Config{LogFormat: format, Node: "n1", LogLevel: slog.LevelDebug}, &out)
		log.Info("GET /hubs/chat?id=hunter2&access_token=" + jwt + " refused")
		log.Info("m", "token", "hunter2", "Authorization", "hunter2", "body", []byte("hunter2"))
		log.Info("m", "error", fmt.Errorf("dial: %w", errors.New("valkey://user:hunter2@10.0.0.1:6379: refused")))
		log.Info("m", "url", address, "header", "Bearer "+jwt, "also", jwt)
		log.Info("m", "text", `{"connectionToken":"hunter2"}`, "pair", "password=hunter2;x=1", "other", "accessKey: hunter2")
		log.WithGroup("request").Info("m", slog.Group("inner", "token", "hunter2"))
		if text := out.String(); strings.Contains(text, "hunter2") {
			t.Errorf("%s: it shows a secret:\n%s", format, text)
		}
		for _, want := range []string{"refused", "10.0.0.1:6379", "/hubs/chat", "node"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: %s is gone from:\n%s", format, want, out.String())
			}
		}
	}
}

// A node that logs all it can names connections by their public IDs; tokens and what is in messages it never logs.
func TestNodeLogsNeitherTokensNorMessages(t *testing.T) {
	t.Parallel()
	log := newOutput()
	n := startLogging(t, log, "-log-level", "debug")
	_, text, _ := n.do("POST", "/hubs/chat/negotiate?negotiateVersion=1&access_token=hunter2access", "")
	var answer struct{ ConnectionID, ConnectionToken string }
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	at := "/hubs/chat?access_token=hunter2access&id=" + url.QueryEscape(answer.ConnectionToken)
	n.do("GET", at, "")                                             // the first poll
	n.do("POST", at, "{\"protocol\":\"json\",\"version\":1}\x1e")   // its handshake
	n.do("POST", at, "{\"type\":1,\"target\":\"hunter2call\"}\x1e") // a call, which nobody answers
	n.do("POST", at, "hunter2 is no hub message\x1e")
	n.do("POST", "/api/hubs/chat/send", `{"target":"hunter2target","arguments":["hunter2argument"]}`)
	n.do("POST", "/api/hubs/chat/send", `{"target":"hunter2target","arguments":[`)
	n.do("GET", at+"hunter2wrong", "")
	n.do(http.MethodDelete, at, "")
	shown := log.String()
	if !strings.Contains(shown, "request") || !strings.Contains(shown, "hub=chat") {
		t.Fatalf("it logs nothing to judge:\n%s", shown)
	}
	for _, secret := range []string{answer.ConnectionToken, "hunter2"} {
		if strings.Contains(shown, secret) {
			t.Errorf("it logs %s:\n%s", secret, shown)
		}
	}
}

// A line in JSON has each name once: readers take the last of two, so that an attribute "time" would hide when it was.
func TestLinesOfTheLogHaveEachNameOnce(t *testing.T) {
	t.Parallel()
	log := newOutput()
	n := startLogging(t, log, "-log-level", "debug", "-log-format", "json")
	n.do("GET", "/readyz", "")
	n.wait()
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if text := log.String(); !strings.Contains(text, `"draining"`) || !strings.Contains(text, `"request"`) {
		t.Fatalf("it logs nothing to judge:\n%s", text)
	}
	for _, line := range lines {
		var names map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &names); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for name := range names {
			if strings.Count(line, `"`+name+`":`) != 1 {
				t.Errorf("%s is there more than once: %s", name, line)
			}
		}
	}
}
