package proxytest

import (
	"fmt"
	"strings"
)

func haproxyConfig(c *config) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("global")
	line("  maxconn 1500")
	line("  nbthread 1")
	line("  noreuseport") // two of them on one port would share its connections
	line("  log stdout format raw local0")
	line("defaults")
	line("  mode http")
	line("  log global")
	line("  option dontlognull") // nor one for the connection that finds out whether it is up
	line("  option logasap")     // a line when the answer begins, not when it ends
	line("  log-format \"%s %%ST %%HM %%HU %%si:%%sp\"", logMark)
	line("  timeout connect 2s")
	line("  timeout client %s", milliseconds(c.idle))
	line("  timeout server %s", milliseconds(c.idle))
	line("  timeout tunnel %s", milliseconds(c.idle))
	line("  timeout check 5s")     // a busy machine is no dead node
	line("  option http-no-delay") // without it every server-sent event waits 200 ms
	if c.retryPolls {
		line("  retries %d", c.retries)
		line("  option redispatch 1")
		line("  retry-on all-retryable-errors")
	}
	line("frontend in")
	line("  bind 127.0.0.1:%d", c.port)
	if c.refuseUpgrades {
		line("  http-request deny deny_status 403 if { req.hdr(Upgrade) -i websocket }")
	}
	if c.stripUpgrades {
		line("  http-request del-header Upgrade")
		line("  http-request del-header Connection")
	}
	line("  default_backend nodes")
	line("backend nodes")
	if c.steady {
		line("  balance url_param id") // round robin for a request without it
	} else {
		line("  balance roundrobin")
	}
	if c.retryPolls {
		line("  http-request disable-l7-retry unless METH_GET") // a POST might then be executed twice
	}
	line("  http-response set-header %s %%[srv_name]", Header)
	check := ""
	if c.checkHealth {
		line("  option httpchk GET /readyz")
		check = " check inter 200ms fall 1 rise 1"
	}
	for _, node := range c.nodes {
		line("  server %s %s%s", node, node, check)
	}
	return b.String()
}
