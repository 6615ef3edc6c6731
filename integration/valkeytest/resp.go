package valkeytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// commandTimeout bounds one command of a test, connecting included.
const commandTimeout = 5 * time.Second

// do is the smallest client that serves: one connection per command, so that it needs no library and shares nothing
// with the client that the product uses.
func do(addr string, timeout time.Duration, args ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	var request strings.Builder
	fmt.Fprintf(&request, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&request, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(conn, request.String()); err != nil {
		return "", err
	}
	var lines []string
	if err := readReply(bufio.NewReader(conn), &lines); err != nil {
		return "", err
	}
	return strings.Join(lines, "\n"), nil
}

// readReply appends the values of one RESP2 reply to lines, arrays flattened; a null is an empty line.
func readReply(r *bufio.Reader, lines *[]string) error {
	head, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	head = strings.TrimSuffix(head, "\r\n")
	if head == "" {
		return errors.New("empty reply line")
	}
	switch kind, rest := head[0], head[1:]; kind {
	case '+', ':':
		*lines = append(*lines, rest)
		return nil
	case '-':
		return errors.New(rest)
	case '$', '*':
		n, err := strconv.Atoi(rest)
		if err != nil {
			return fmt.Errorf("reply %q: %w", head, err)
		}
		if n < 0 {
			*lines = append(*lines, "")
			return nil
		}
		if kind == '*' {
			for range n {
				if err := readReply(r, lines); err != nil {
					return err
				}
			}
			return nil
		}
		body := make([]byte, n+len("\r\n"))
		if _, err := io.ReadFull(r, body); err != nil {
			return err
		}
		*lines = append(*lines, string(body[:n]))
		return nil
	default:
		return fmt.Errorf("reply of unknown kind: %q", head)
	}
}

// infoField asks for one field of INFO, such as process_id.
func infoField(addr, section, field string) (string, error) {
	info, err := do(addr, time.Second, "INFO", section)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == field {
			return value, nil
		}
	}
	return "", fmt.Errorf("INFO %s has no field %s", section, field)
}
