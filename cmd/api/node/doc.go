// Package node is a whole node behind a small main: settings, wiring, start and end.
//
//	settings -> listen -> alive -> store reached -> ready -> asked to end -> not ready -> drained -> ended
//
// It joins the concrete parts and hands each its share of the settings; nothing else knows them all.
package node
