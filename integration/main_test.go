package integration_test

import (
	"flag"
	"os"
	"testing"

	"hubstream/integration/internal/nodes"
	"hubstream/integration/valkeytest"
)

// Most tests wait for a server far longer than they compute.
const parallelTests = "12"

func TestMain(m *testing.M) {
	flag.Parse()
	if !isSet("test.parallel") {
		if err := flag.Set("test.parallel", parallelTests); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	stopShared()
	valkeytest.StopShared()
	nodes.RemoveBinary()
	os.Exit(code)
}

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
