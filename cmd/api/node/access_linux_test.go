package node_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"hubstream/negotiate/access"
)

// A file of access keys that is replaced while the node reads it, as when both begin at once, is a change like any other.
func TestAccessKeysFileThatChangesAtTheStartIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	if err := syscall.Mkfifo(path, 0o600); err != nil { // read for as long as we write
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		written <- func() error {
			early, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer early.Close()
			if err := os.WriteFile(path+"~", []byte(keyTwo), 0o600); err != nil {
				return err
			}
			if err := os.Rename(path+"~", path); err != nil {
				return err
			}
			_, err = early.WriteString(string(keyOne))
			return err
		}()
	}()
	n := start(t, "-access-keys-file", path)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the later key holds", func() bool {
		status, _ := n.with(n.token(keyTwo, access.HubAudience), "POST", "/api/hubs/chat/send", `{"target":"m"}`)
		return status == 202
	})
}
