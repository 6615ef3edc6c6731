package traces

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// uploads sends spans by OTLP over HTTP. OpenTelemetry's own client does no more for us, and takes gRPC along, which made the
// binary twice as large; what spans look like is left to OpenTelemetry.
type uploads struct {
	endpoint string
	header   http.Header
	client   http.Client
}

// maxAnswer bounds what is read of a collector's answer, for its connection to be used again.
const maxAnswer = 64 << 10 // 64 KiB

func newUploads(endpoint string) (*uploads, error) {
	header, err := headersOf(os.Getenv)
	if err != nil {
		return nil, err
	}
	header.Set("Content-Type", "application/x-protobuf")
	header.Set("User-Agent", "hubstream")
	transport := http.DefaultTransport.(*http.Transport).Clone() // with the environment's proxy
	return &uploads{endpoint: endpoint, header: header, client: http.Client{Transport: transport, Timeout: exportTimeout}}, nil
}

// headersOf returns the headers that OpenTelemetry's variables give a collector ("Specifying headers via environment variables"):
// name=value, by commas, percent-encoded. The error names none of them: they may be secrets.
func headersOf(env func(string) string) (http.Header, error) {
	const all, ofTraces = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
	given := env(ofTraces)
	if given == "" {
		given = env(all)
	}
	header := http.Header{}
	for part := range strings.SplitSeq(given, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, raw, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.TrimSpace(raw))
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil {
			return nil, errors.New(all + " or " + ofTraces + " is not name=value, by commas")
		}
		header.Set(name, value)
	}
	return header, nil
}

// Start implements otlptrace.Client.
func (u *uploads) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (u *uploads) Stop(context.Context) error {
	u.client.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. What the collector does not take is not sent again: it would wait behind what comes next.
func (u *uploads) UploadTraces(ctx context.Context, spans []*otlp.ResourceSpans) error {
	body, err := proto.Marshal(&otlp.TracesData{ResourceSpans: spans}) // an ExportTraceServiceRequest has the same only field
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header = u.header.Clone()
	answer, err := u.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer) // nothing depends on it
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answered %s", answer.Status)
	}
	return nil
}

var _ otlptrace.Client = (*uploads)(nil)
