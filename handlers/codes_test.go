package handlers_test

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// Programs branch on the codes: the table of docs/limits.md has each of them, and no other.
func TestEveryCodeIsDocumented(t *testing.T) {
	t.Parallel()
	find := func(path, pattern string) []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, match := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			names = append(names, string(match[1]))
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	codes := find("errors.go", `(?m)^\tcode\w+ +(?:code )?= "(\w+)"$`)
	documented := find("../docs/limits.md", "(?m)^\\| `(\\w+)` \\| [1-5][0-9][0-9] \\|")
	if len(codes) == 0 || !slices.Equal(codes, documented) {
		t.Errorf("codes      %q\ndocumented %q", codes, documented)
	}
}
