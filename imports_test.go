package hubstream_test

import (
	"os/exec"
	"strings"
	"testing"
)

// forbidden lists which folder must not import what, directly, and why.
var forbidden = []struct{ folder, imports, why string }{
	{"streams", "net/http", "the log is not a matter of HTTP"},
	{"streams", "github.com/prometheus", "what is counted is shown elsewhere"},
	{"streams", "go.opentelemetry.io", "what becomes of a send is recorded elsewhere"},
	{"transports", "github.com/prometheus", "what is counted is shown elsewhere"},
	{"transports", "go.opentelemetry.io", "what becomes of a send is recorded elsewhere"},
	{"handlers", "github.com/prometheus", "what is counted is shown elsewhere"},
	{"handlers", "go.opentelemetry.io", "what becomes of a send is recorded elsewhere"},
	{"streams", "hubstream/transports", "a body is bytes to the log"},
	{"streams", "hubstream/handlers", "arrows point one way"},
	{"transports", "github.com/labstack/echo", "frameworks stay at the edge"},
	{"transports", "github.com/valkey-io", "only streams speaks to Valkey"},
	{"transports", "hubstream/handlers", "arrows point one way"},
	{"transports/hubprotocol", "hubstream/", "the protocol is bytes in, values out"},
	{"transports/hubprotocol", "net", "the protocol has no sockets"},
	{"negotiate", "hubstream/", "tokens stand alone"},
	{"negotiate", "github.com/labstack/echo", "frameworks stay at the edge"},
	{"negotiate/access", "hubstream/streams", "tokens stand alone"},
	{"negotiate/access", "hubstream/transports", "tokens stand alone"},
	{"negotiate/access", "hubstream/handlers", "arrows point one way"},
	{"negotiate/access", "github.com/labstack/echo", "frameworks stay at the edge"},
	{"cmd/api/command", "hubstream/streams", "the command line knows nodes by their API"},
	{"cmd/api/command", "hubstream/handlers", "the command line knows nodes by their API"},
	{"cmd/api/bench", "hubstream/streams", "it knows nodes by their protocol and their API"},
	{"cmd/api/bench", "hubstream/handlers", "it knows nodes by their protocol and their API"},
	{"cmd/api/bench", "hubstream/cmd/api/node", "it knows nodes by their protocol and their API"},
	{"internal/ratelimit", "hubstream/", "it counts names"},
	{"internal/reasons", "hubstream/", "it knows errors by what they say"},
	{"internal/upstream", "hubstream/", "what is asked and answered is bytes to it"},
	{"transports", "github.com/sony/gobreaker", "how upstreams are called is theirs"},
	{"handlers", "github.com/valkey-io", "only streams speaks to Valkey"},
	{"handlers", "github.com/gobwas/ws", "wire framing is the transports'"},
	{"handlers", "hubstream/web", "the console is a http.Handler to it"},
	{"web", "hubstream/", "the console is shown figures, and asks for the rest over HTTP"},
	{"web", "github.com/labstack/echo", "frameworks stay at the edge"},
}

func TestArrowsPointOneWay(t *testing.T) {
	for _, f := range forbidden {
		for _, path := range imports(t, "./"+f.folder) {
			if path == f.imports || strings.HasPrefix(path, strings.TrimSuffix(f.imports, "/")+"/") {
				t.Errorf("%s imports %s: %s", f.folder, path, f.why)
			}
		}
	}
}

// gRPC makes the binary twice as large (30 MB for 15), for a collector of traces that takes HTTP as well.
func TestBinaryIsWithoutGRPC(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./cmd/api").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if strings.Contains(string(out), "google.golang.org/grpc") {
		t.Error("cmd/api needs google.golang.org/grpc: go mod why google.golang.org/grpc tells through what")
	}
}

func imports(t *testing.T, folder string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, folder).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", folder, err)
	}
	return strings.Fields(string(out))
}
