package node

import (
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// profiler serves Go's profiles, on an address of its own: they show what is in memory, and cost what they measure.
type profiler struct{ server *http.Server }

// startProfiler serves on address; on none if it is empty.
func startProfiler(address string) (*profiler, error) {
	if address == "" {
		return &profiler{}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not shown: flags may have secrets", http.StatusForbidden)
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return &profiler{server}, nil
}

func (p *profiler) stop() {
	if p.server != nil {
		_ = p.server.Close()
	}
}
