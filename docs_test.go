package hubstream_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)

// Pages refer to each other and to files; what they refer to is there.
func TestLinksOfThePagesLead(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	followed := 0
	for _, page := range append(pages, "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			followed++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s refers to %s, which is not there", page, m[1])
			}
		}
	}
	if followed < 20 {
		t.Errorf("only %d links were found", followed)
	}
}

var (
	// place is what a list of tests begins with.
	place    = regexp.MustCompile("^(?:the same, and )?(T|S|streamstest|`[a-z]+`:) ")
	named    = regexp.MustCompile("`(\\.{3}\\w+|Test\\w+)`")
	quoted   = regexp.MustCompile("`(\\w+)`")
	function = regexp.MustCompile(`(?m)^func (?:\(\w+ \*?\w+\) )?(\w+)\(`)
)

// functions returns those of the tests below a folder.
func functions(t *testing.T, folder string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "node_modules":
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go") && !strings.HasPrefix(path, "streams/streamstest/"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Every test that the page of the guarantees names is there, and where the page says: T is transports, S streams, a folder's own
// name that folder, streamstest its suite, and where nothing is said it is integration.
func TestTestsOfTheGuaranteesAreThere(t *testing.T) {
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	folders := map[string][]string{}
	found := 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for list := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == '|' || r == ';' }) {
			list = strings.TrimSpace(list)
			folder, names := "integration", named
			if m := place.FindStringSubmatch(list); m != nil {
				switch list = list[len(m[0]):]; m[1] {
				case "T":
					folder = "transports"
				case "S":
					folder = "streams"
				case "streamstest":
					folder, names = "streams/streamstest", quoted
				default:
					folder = strings.Trim(m[1], "`:")
				}
			}
			for _, m := range names.FindAllStringSubmatch(list, -1) {
				if folders[folder] == nil {
					folders[folder] = functions(t, folder)
				}
				found++
				name, isEnd := strings.CutPrefix(m[1], "...")
				if !slices.ContainsFunc(folders[folder], func(f string) bool { return f == name || isEnd && strings.HasSuffix(f, name) }) {
					t.Errorf("%s is not in %s", m[1], folder)
				}
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d tests were found on the page", found)
	}
}
