package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"hubstream/negotiate"
)

// ConnectionVariable is where the commands find the connection string. Nodes do not read it.
const ConnectionVariable = "HUBSTREAM_CONNECTION_STRING"

// command is one of the commands.
type command struct {
	name, usage, does string
	// run declares its flags, has them read, and does what is asked for.
	run func(ctx context.Context, c *call) error
}

var commands = []command{
	{"token", "token -hub HUB [-user USER] [-backend] [...]", "prints an access token, made with the access key", token},
	{"send", "send -hub HUB [-group G] [-user U] [-to ID] TARGET [ARGUMENT...]", "sends a message; arguments are JSON, or else text", send},
	{"tail", "tail -hub HUB [-groups A,B] [-user U] [-from POSITION] [-connect]", "prints what is sent, until it is stopped", tail},
	{"connections", "connections -hub HUB", "lists a hub's connections over all nodes", connections},
	{"bench", "bench -hub HUB [-nodes A,B] [-connections N] [-transport T] [-rate R] [...]", "makes a load, and measures the nodes", measure},
}

// Is tells whether a word is the name of a command.
func Is(word string) bool {
	for _, c := range commands {
		if c.name == word {
			return true
		}
	}
	return false
}

// call is one call of a command.
type call struct {
	args []string
	env  func(string) string
	out  io.Writer
	errs io.Writer

	flags      *flag.FlagSet
	hub        string
	connection string
	node       string
}

// Run runs the command that args begin with. The error is one line, for people.
func Run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		k := &call{args: args[1:], env: env, out: stdout, errs: stderr, flags: flag.NewFlagSet(c.name, flag.ContinueOnError)}
		k.flags.SetOutput(io.Discard)
		k.flags.Usage = func() {}
		k.flags.StringVar(&k.hub, "hub", "", "the hub")
		k.flags.StringVar(&k.connection, "connection", "", "connection string, Endpoint=...;AccessKey=...; (default: of "+ConnectionVariable+")")
		k.flags.StringVar(&k.node, "node", "", "address of the node, if it is not the connection string's endpoint")
		err := c.run(ctx, k)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(stdout, "hubstream %s\n\n%s.\n\n", c.usage, c.does)
			k.flags.SetOutput(stdout)
			k.flags.PrintDefaults()
			return nil
		}
		return err
	}
	return fmt.Errorf("%s is no command", args[0])
}

// Help lists the commands.
func Help() string {
	text := ""
	for _, c := range commands {
		text += fmt.Sprintf("  hubstream %s\n      %s\n", c.usage, c.does)
	}
	return text
}

// parse reads the flags, and what is left of the arguments.
func (c *call) parse() (rest []string, err error) {
	if err := c.flags.Parse(c.args); err != nil {
		return nil, err
	}
	if c.hub == "" {
		return nil, errors.New("-hub is missing: which hub?")
	}
	if _, err := negotiate.HubName(c.hub); err != nil { // a node with keys would only say that the token is for another address
		return nil, fmt.Errorf("-hub: %w", err)
	}
	return c.flags.Args(), nil
}

// isFlag tells whether an argument looks like one of the command's flags: whoever gives -group behind the target means a group's
// message, which would go to all.
func (c *call) isFlag(argument string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(argument, "-"), "-"), "=")
	return strings.HasPrefix(argument, "-") && c.flags.Lookup(name) != nil
}

// serviceAlone is parse and service for a command that takes no arguments.
func (c *call) serviceAlone() (service, error) {
	rest, err := c.parse()
	if err != nil {
		return service{}, err
	}
	if len(rest) > 0 {
		return service{}, fmt.Errorf("unexpected argument %q", rest[0])
	}
	return c.service()
}

// names collects a flag that may be given several times.
type names []string

func (n *names) String() string { return "" }

func (n *names) Set(name string) error {
	*n = append(*n, name)
	return nil
}
