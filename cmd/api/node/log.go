package node

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

// newLog is the node's log, whose reader keeps nobody waiting.
func newLog(cfg Config, w io.Writer) (*slog.Logger, *lines) {
	direct := newLogger(cfg, w)
	l := newLines(w, func(n int64) { direct.Warn("lines of the log are missing: nobody read them", "lines", n) })
	return newLogger(cfg, l), l
}

func newLogger(cfg Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.LogLevel, ReplaceAttr: redact}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if cfg.LogFormat == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	return slog.New(handler).With("node", cfg.Node)
}

// redact hides what lets its holder in, wherever it is in an attribute or a message: nothing here logs it, but libraries
// log addresses, and errors carry what their makers put into them.
func redact(_ []string, a slog.Attr) slog.Attr {
	if secretKeys[strings.ToLower(a.Key)] {
		return slog.String(a.Key, hidden)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(withoutSecrets(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			a.Value = slog.StringValue(withoutSecrets(v.Error()))
		case fmt.Stringer:
			a.Value = slog.StringValue(withoutSecrets(v.String()))
		}
	}
	return a
}

// secretKeys are the attributes whose values are never shown.
var secretKeys = map[string]bool{
	"token": true, "connection_token": true, "access_token": true, "access_key": true,
	"authorization": true, "secret": true, "password": true, "cookie": true, "body": true, "arguments": true,
}

// secretValues match what never is shown within a text, the first group of each excepted.
var secretValues = []*regexp.Regexp{
	regexp.MustCompile(`(?i)(\b(?:access_token|connectiontoken|token|secret|password|accesskey)["']?[=:]\s*["']?)[^&\s"',;]+`),
	regexp.MustCompile(`([?&]id=)[^&\s"']+`),               // a connection token
	regexp.MustCompile(`(?i)(\bbearer\s+)[\w.~+/=-]+`),     // an access token
	regexp.MustCompile(`(\b)eyJ[\w-]{8,}\.[\w-]+\.[\w-]*`), // the same, anywhere
	regexp.MustCompile(`(://[^/\s:@]*:)[^/\s]*@`),          // a password in an address
	regexp.MustCompile(`(?i)(\bcookie:\s*)[^\r\n]+`),
}

func withoutSecrets(text string) string {
	if !strings.ContainsAny(text, ":=. ") {
		return text
	}
	for _, pattern := range secretValues {
		text = pattern.ReplaceAllString(text, "${1}"+hidden)
	}
	return text
}
