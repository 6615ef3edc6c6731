// Command hubstream is a push service that speaks SignalR: one node of it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"hubstream/cmd/api/node"
)

func main() {
	ends := []os.Signal{syscall.SIGTERM, os.Interrupt}
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := node.CheckEnvironment(os.Environ())
	if err == nil {
		err = node.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hubstream:", err)
		os.Exit(1)
	}
}
