package proc_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"hubstream/integration/internal/proc"
)

// Many ports, of which nothing uses one, are different ones, in this process and in one beside it.
func TestFreePortIsGivenOnce(t *testing.T) {
	const many = 700 // of 14,000: two of them would be the same one in nearly all runs
	var list []string
	for range many {
		port, err := proc.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, strconv.Itoa(port))
	}
	if os.Getenv("PRINT_PORTS") != "" {
		os.Stdout.WriteString("ports " + strings.Join(list, " ") + "\n")
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", t.Name())
	cmd.Env = append(os.Environ(), "PRINT_PORTS=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	others, found := strings.CutPrefix(string(out), "ports ")
	if !found {
		t.Fatalf("the other process says %q", out)
	}
	others, _, _ = strings.Cut(others, "\n")
	seen := map[string]bool{}
	for _, port := range append(list, strings.Fields(others)...) {
		if seen[port] {
			t.Errorf("port %s is given twice", port)
		}
		seen[port] = true
	}
	if len(seen) != 2*many {
		t.Errorf("%d ports, want %d", len(seen), 2*many)
	}
}
