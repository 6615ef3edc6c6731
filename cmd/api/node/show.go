package node

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// check writes the effective settings, in the form of a file of settings, and where each is from. Secrets are not shown.
func check(w io.Writer, args []string, env func(string) string) error {
	c, sources, err := parse(args, env)
	if err != nil {
		return err
	}
	if err := c.checkUse(env); err != nil {
		return err
	}
	var b strings.Builder
	for i, s := range settings {
		value := s.value(&c)
		line := s.name + " = " + quoted(value)
		if value == "" {
			line = "# " + s.name + " is not set"
		}
		if sources[i] != "" {
			line += "  # " + sources[i]
		}
		b.WriteString(line + "\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

func quoted(value string) string {
	if value == "true" || value == "false" {
		return value
	}
	return strconv.Quote(value)
}

// hidden stands for a secret that is set.
const hidden = "(hidden)"

// withoutPassword is an address of Valkey as it may be shown.
func withoutPassword(address string) string {
	if !strings.Contains(address, "://") {
		if strings.Contains(address, "@") { // no address, but perhaps a password
			return hidden
		}
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return hidden
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "xxxxx")
	}
	u.RawQuery = ""
	return u.String()
}

// writeReference writes docs/configuration.md.
func writeReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(referenceHead)
	c := defaults()
	for _, s := range settings {
		value := s.value(&c)
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `-%s` | %s | %s | %s |\n", s.name, s.form, value, strings.ReplaceAll(s.usage, "|", `\|`))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const referenceHead = `# Configuration

<!-- Written by "make docs" from the settings in cmd/api/node; a test fails when it is not current. -->

Every setting is a flag (` + "`-poll-timeout 20s`" + `), a variable of the environment (` + "`HUBSTREAM_POLL_TIMEOUT=20s`" + `: upper case, ` + "`_` for `-`" + `)
and a line of a file in TOML (` + "`poll-timeout = \"20s\"`" + `), which ` + "`-config` or `HUBSTREAM_CONFIG`" + ` names. A flag wins over the environment, which
wins over the file, which wins over the default. An empty variable counts as none. Unknown names are refused, in every place.

    listen  = "127.0.0.1:8080"
    valkey  = ["10.0.0.1:6379"]
    drain   = "30s"

` + "`hubstream check`" + ` with the same flags, environment and file says whether the settings are valid (exit status 1 and one line if not), and
prints the effective ones and where each is from, without secrets. Secrets are best given by the environment or by a file that only the
service can read: other users of the machine see a process's flags.

Durations are written ` + "`500ms`, `20s`, `1m30s`" + `; sizes ` + "`65536`, `64KiB`, `1MiB`, `1GiB`" + `; lists by commas, or as a list in the file.

| flag | values | default | |
|---|---|---|---|
`
