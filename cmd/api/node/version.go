package node

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// build is what the binary was built from. What is not known is empty.
type build struct {
	module   string // its version: a release's, or one that Go makes of the commit
	revision string // the commit, and whether anything had been changed since
}

func readBuild() (b build) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	changed := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if b.revision != "" {
		b.revision += changed
	}
	b.module = info.Main.Version
	return b
}

// version names the binary in logs, metrics and the console: the commit, or else the release.
func version() string {
	b := readBuild()
	return cmp.Or(b.revision, b.module, "unknown")
}

// writeVersion says what the binary is, in one line.
func writeVersion(w io.Writer) error {
	b := readBuild()
	_, err := fmt.Fprintf(w, "hubstream %s, commit %s, %s %s/%s\n",
		cmp.Or(b.module, "unknown"), cmp.Or(b.revision, "unknown"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
