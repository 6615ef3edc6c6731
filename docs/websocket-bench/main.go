// Command websocket-bench compares four WebSocket libraries in the place
// where Hubstream would use one: behind net/http and echo, with one goroutine
// reading each connection.
//
// Run it from this folder; it needs only loopback, and ends by itself:
//
//	go run .                          # three runs of everything, as in ../websocket-library.md
//	go run . -runs 1 -only gobwas     # one run of the variants whose name matches
//
// Linux only: it reads the resident size from /proc. Both processes need
// about 6,000 open files each (ulimit -n).
//
// The program starts itself a second time as the server, so that the server's
// memory and processor time are measured alone, and gives it orders on
// standard input (server.go). This process is the client: bare sockets and
// hand-made frames, the same for every library (client.go). Each variant of
// each library is one function (coder.go, gorilla.go, gws.go, gobwas.go).
//
// Every run visits every variant once, and prints a row of figures for each;
// the table at the end holds the medians.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"
)

const (
	payloadSize     = 200     // bytes in a broadcast message
	joinedFrames    = 16      // frames handed over together in the second broadcast
	broadcastRounds = 100     // broadcasts of each kind
	receiveRounds   = 100     // messages each connection sends
	connectAtOnce   = 32      // connections the client opens side by side
	maxMessageBytes = 1 << 20 // 1 MiB, the read limit given to every library
)

func main() {
	serverVariant := flag.String("server", "", "internal: serve this variant")
	runs := flag.Int("runs", 3, "runs; the table holds their medians")
	idle := flag.Int("idle", 5000, "idle connections")
	conns := flag.Int("conns", 1000, "connections in the broadcasts and on the receive path")
	only := flag.String("only", "", "regular expression: variants to measure, all when empty")
	flag.Parse()

	if *serverVariant != "" {
		if err := serve(*serverVariant, os.Stdin, os.Stdout); err != nil {
			log.Fatal(err)
		}
		return
	}
	chosen, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	if err := compare(*runs, *idle, *conns, chosen); err != nil {
		log.Fatal(err)
	}
}

// column names one figure, in the order of a row.
type column struct {
	title string
	verb  string
}

var columns = []column{
	{"RSS KiB/idle conn", "%.1f"},
	{"live heap KiB", "%.1f"},
	{"stacks KiB", "%.1f"},
	{"goroutines", "%.1f"},
	{"connections/s", "%.0f"},
	{"server CPU us/connection", "%.0f"},
	{"1 frame: CPU us/frame", "%.2f"},
	{"1 frame: ms to the last conn", "%.1f"},
	{"16 frames: CPU us/frame", "%.2f"},
	{"16 frames: ms to the last conn", "%.1f"},
	{"receive: allocs/msg", "%.2f"},
	{"receive: bytes/msg", "%.0f"},
	{"receive: CPU us/msg", "%.2f"},
	{"early frame kept", "%.0f"},
}

func compare(runs, idle, conns int, chosen *regexp.Regexp) error {
	results := map[string][][]float64{}
	var measured []variant
	for _, v := range variants {
		if chosen.MatchString(v.name) {
			measured = append(measured, v)
		}
	}
	for run := range runs {
		for i := range measured {
			// Start each run elsewhere, so that no variant is always
			// the first or always follows the same neighbour.
			v := measured[(i+run*2)%len(measured)]
			row, err := measure(v.name, idle, conns)
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			fmt.Fprintf(os.Stderr, "run %d %s %s\n", run+1, v.name, formatRow(row))
			results[v.name] = append(results[v.name], row)
		}
	}

	fmt.Print("| Variant |")
	for _, c := range columns {
		fmt.Printf(" %s |", c.title)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---:|", len(columns)))
	for _, v := range measured {
		fmt.Printf("| %s | %s |\n", v.name, formatRow(medians(results[v.name])))
	}
	return nil
}

func measure(name string, idle, conns int) ([]float64, error) {
	row, err := measureIdle(name, idle)
	if err != nil {
		return nil, fmt.Errorf("idle: %w", err)
	}
	busy, err := measureBusy(name, conns)
	if err != nil {
		return nil, fmt.Errorf("busy: %w", err)
	}
	return append(row, busy...), nil
}

func medians(rows [][]float64) []float64 {
	out := make([]float64, len(columns))
	for i := range out {
		var values []float64
		for _, row := range rows {
			values = append(values, row[i])
		}
		slices.Sort(values)
		out[i] = values[len(values)/2]
	}
	return out
}

func formatRow(row []float64) string {
	cells := make([]string, len(row))
	for i, v := range row {
		cells[i] = fmt.Sprintf(columns[i].verb, v)
	}
	return strings.Join(cells, " | ")
}
