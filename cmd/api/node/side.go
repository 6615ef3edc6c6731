package node

import (
	"net"
	"net/http"
	"net/http/pprof"
)

// side is a server for people who run the node, on an address of its own.
type side struct{ server *http.Server }

// startSide serves on address; on none if it is empty.
func startSide(address string, handler http.Handler) (*side, error) {
	if address == "" {
		return &side{}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout}
	go func() { _ = server.Serve(listener) }()
	return &side{server}, nil
}

func (s *side) stop() {
	if s.server != nil {
		_ = s.server.Close()
	}
}

// startMetrics serves the metrics. Who reaches the address sees them: it is for a network where only Prometheus is.
func startMetrics(address string, metrics http.Handler) (*side, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	return startSide(address, mux)
}

// startProfiler serves Go's profiles: they show what is in memory, and cost what they measure.
func startProfiler(address string) (*side, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not shown: flags may have secrets", http.StatusForbidden)
	})
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return startSide(address, mux)
}
