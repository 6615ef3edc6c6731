package proxytest

import (
	"fmt"
	"os"
	"strings"
)

func nginxConfig(c *config) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("daemon off; worker_processes 1; pid %s/pid; error_log stderr warn;", c.dir)
	if os.Getuid() == 0 {
		line("user root;") // the temporary directory is ours alone
	}
	line("events { worker_connections 4096; }")
	line("http {")
	line("  log_format nodes '%s $status $request_method $request_uri $upstream_addr';", logMark)
	line("  access_log /dev/stdout nodes;")
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		line("  %s_temp_path %s/%s;", temp, c.dir, temp)
	}
	line("  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }")
	line("  upstream nodes {")
	for _, node := range c.nodes {
		line("    server %s;", node)
	}
	line("    keepalive 16;")
	line("  }")
	line("  server {")
	line("    listen 127.0.0.1:%d;", c.port)
	line("    location / {")
	if c.refuseUpgrades {
		line("      if ($http_upgrade) { return 403; }")
	}
	line("      proxy_pass http://nodes;")
	line("      proxy_set_header Host $host;")
	if c.buffer {
		// HTTP/1.0 to the node, nginx's default, is what makes it really buffer.
		line("      proxy_buffering on; proxy_buffers 16 64k;")
	} else {
		line("      proxy_http_version 1.1; proxy_buffering off;")
		if c.stripUpgrades {
			line("      proxy_set_header Connection '';")
		} else {
			line("      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;")
		}
	}
	if c.ignoreHeaders {
		line("      proxy_ignore_headers X-Accel-Buffering;")
	}
	line("      proxy_next_upstream off;")
	line("      proxy_read_timeout %s; proxy_send_timeout %[1]s; send_timeout %[1]s;", milliseconds(c.idle))
	line("      add_header %s $upstream_addr always;", Header)
	line("    }")
	line("  }")
	line("}")
	return b.String()
}
