package node_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hubstream/cmd/api/node"
	"hubstream/negotiate/access"
)

const (
	keyOne = "hunter2-access-key-one-of-the-tests"
	keyTwo = "hunter2-access-key-two-of-the-tests"
	admin  = "hunter2-admin-key-of-the-tests"
)

// with makes requests with a token.
func (n *running) with(token, method, path, body string) (status int, text string) {
	n.t.Helper()
	status, text, _ = n.doWith(method, path, body, "Authorization", "Bearer "+token)
	return status, text
}

// token makes one for a client (of ann) or a backend of hub chat, at the node.
func (n *running) token(key access.Key, audience func(endpoint, hub string) string) string {
	n.t.Helper()
	token, err := access.Sign(key, access.Token{Audience: audience(n.url, "chat"), User: "ann"}, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

func (n *running) want(what string, status, want int) {
	n.t.Helper()
	if status != want {
		n.t.Errorf("%s: got %d, want %d", what, status, want)
	}
}

func TestNodeWithKeysNeedsTokens(t *testing.T) {
	t.Parallel()
	log := newOutput()
	n := startLogging(t, log, "-access-keys", keyOne+","+keyTwo, "-admin-keys", admin, "-log-level", "debug")
	if text := n.out.String(); !strings.Contains(text, "access tokens are needed") || strings.Contains(text, "development") || strings.Contains(text, "hunter2") {
		t.Errorf("it says:\n%s", text)
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/api/health", "/console/session"} {
		status, _, _ := n.do("GET", path, "")
		n.want(path, status, 200)
	}
	for _, path := range []string{"/metrics", "/console/feed", "/console/history", "/console/api/hubs", "/api/hubs/chat/connections"} {
		status, _, _ := n.do("GET", path, "")
		n.want(path+" without a key", status, 401)
		status, _ = n.with("hunter2-another-admin-key", "GET", path, "")
		n.want(path+" with another key", status, 401)
		if path == "/console/feed" {
			continue // it does not end
		}
		status, _ = n.with(admin, "GET", path, "")
		n.want(path+" with the key", status, 200)
	}
	client, backend := n.token(keyOne, access.ClientAudience), n.token(keyTwo, access.HubAudience)
	status, text := n.with(client, "POST", "/client/negotiate?hub=chat&negotiateVersion=1", "")
	n.want("negotiate", status, 200)
	_, connection, _ := strings.Cut(text, `"connectionToken":"`)
	connection, _, _ = strings.Cut(connection, `"`)
	status, _ = n.with(client, "GET", "/hubs/chat?id="+connection, "")
	n.want("a poll", status, 200)
	status, _, _ = n.do("GET", "/hubs/chat?id="+connection+"&access_token="+client, "")
	n.want("a poll with the token in its address", status, 401)
	status, _ = n.with(backend, "POST", "/api/hubs/chat/send", `{"target":"m"}`)
	n.want("a send", status, 202)
	status, _ = n.with(client, "POST", "/api/hubs/chat/send", `{"target":"m"}`)
	n.want("a client's send", status, 401)
	if text := log.String(); !strings.Contains(text, "status=401") || strings.Contains(text, "hunter2") || strings.Contains(text, client) || strings.Contains(text, backend) || strings.Contains(text, connection) {
		t.Errorf("it logs what lets its holder in, or nothing:\n%s", text)
	}
}

// The file of access keys is read again when it changes, and one that cannot be read changes nothing.
func TestAccessKeysFileIsReadAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
	}
	write("\uFEFF# of the tests\r\n\r\n" + keyOne + "\r\n") // as editors of Windows do
	log := newOutput()
	n := startLogging(t, log, "-access-keys-file", path)
	send := func(key access.Key) int {
		status, _ := n.with(n.token(key, access.HubAudience), "POST", "/api/hubs/chat/send", `{"target":"m"}`)
		return status
	}
	n.want("the first key", send(keyOne), 202)
	n.want("a key that is not there", send(keyTwo), 401)
	n.want("a comment behind a byte order mark", send("\uFEFF# of the tests"), 401)
	write(keyOne + "\n  " + keyTwo + "  \n")
	eventually(t, "the second key holds", func() bool { return send(keyTwo) == 202 })
	n.want("the first key, still", send(keyOne), 202)
	write("hunter2\n")
	eventually(t, "the mistake is told", func() bool { return strings.Contains(log.String(), "not read again") })
	n.want("after a mistake", send(keyOne), 202)
	write(keyTwo + "\n")
	eventually(t, "the first key is gone", func() bool { return send(keyOne) == 401 })
	n.want("the second key", send(keyTwo), 202)
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("it logs keys:\n%s", log.String())
	}
}

// A file that could not be read is read when it can be, although it is no other one since: its rights have changed, or who copies it keeps its time.
func TestAccessKeysFileThatCouldNotBeReadIsTriedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	when := time.Now().Add(-time.Hour)
	write := func(text string) {
		err := os.WriteFile(path+"~", []byte(fmt.Sprintf("%-100s", text)), 0o600)
		if err == nil {
			err = os.Chtimes(path+"~", when, when)
		}
		if err == nil {
			err = os.Rename(path+"~", path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(string(keyOne))
	log := newOutput()
	n := startLogging(t, log, "-access-keys-file", path)
	when = time.Now()
	write("hunter2")
	eventually(t, "the mistake is told", func() bool { return strings.Contains(log.String(), "not read again") })
	write(string(keyTwo))
	eventually(t, "the second key holds", func() bool {
		status, _ := n.with(n.token(keyTwo, access.HubAudience), "POST", "/api/hubs/chat/send", `{"target":"m"}`)
		return status == 202
	})
	if text := log.String(); strings.Count(text, "not read again") != 1 {
		t.Errorf("the mistake is told more than once:\n%s", text)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// With a connection string its endpoint is the host that tokens must name.
func TestConnectionStringIsASetting(t *testing.T) {
	t.Parallel()
	n := start(t, "-access-keys", "Endpoint=https://push.example.org;AccessKey="+keyOne+";Version=1.0;")
	for endpoint, want := range map[string]int{"https://push.example.org": 202, n.url: 401} {
		token, err := access.Sign(keyOne, access.Token{Audience: access.HubAudience(endpoint, "chat")}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		status, _ := n.with(token, "POST", "/api/hubs/chat/send", `{"target":"m"}`)
		n.want(endpoint, status, want)
	}
}

func TestKeysAllowOtherAddresses(t *testing.T) {
	t.Parallel()
	if _, err := node.Parse([]string{"-listen", ":8080", "-access-keys", keyOne}, none); err != nil {
		t.Error(err)
	}
	_, err := node.Parse([]string{"-listen", ":8080"}, none)
	if err == nil || !strings.Contains(err.Error(), "-access-keys") || !strings.Contains(err.Error(), "-dev") {
		t.Errorf("got %v", err)
	}
	args := []string{"-jwks-url", "https://a.example/keys", "-jwks-issuer", "https://a.example", "-jwks-audience", "clients"}
	if c, err := node.Parse(append(args, "-listen", ":8080"), none); err != nil || !c.Authenticated() {
		t.Error(err)
	}
	if _, err := node.Parse(append(args, "-jwks-backend-audience", "clients"), none); err == nil || !strings.Contains(err.Error(), "same audience") {
		t.Errorf("got %v", err)
	}
}

func TestMetricsHaveAnAddressOfTheirOwn(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0") // a free port, soon
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	taken.Close()
	start(t, "-access-keys", keyOne, "-metrics-listen", address)
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 404, "/api/hubs/chat/connections": 404} {
		r, _ := http.NewRequest("GET", "http://"+address+path, nil)
		r.Close = true
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, answer.StatusCode, want)
		}
	}
}

// Tokens of an identity provider, whose keys change while the node runs.
func TestIdentityProvidersTokensAreTaken(t *testing.T) {
	t.Parallel()
	var keys sync.Map // name -> *rsa.PrivateKey
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		list := []map[string]string{}
		keys.Range(func(name, key any) bool {
			n := base64.RawURLEncoding.EncodeToString(key.(*rsa.PrivateKey).N.Bytes())
			list = append(list, map[string]string{"kty": "RSA", "kid": name.(string), "n": n, "e": "AQAB"})
			return true
		})
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
	}))
	t.Cleanup(provider.Close)
	sign := func(name, audience string) string {
		key, ok := keys.Load(name)
		if !ok {
			made, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			keys.Store(name, made)
			key = made
		}
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": "https://idp.example", "aud": audience, "email": "ann@example.com", "exp": time.Now().Add(time.Hour).Unix(),
		})
		token.Header["kid"] = name
		signed, err := token.SignedString(key.(*rsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	first := sign("first", "clients")
	n := start(t, "-jwks-url", provider.URL, "-jwks-issuer", "https://idp.example", "-jwks-audience", "clients", "-jwks-backend-audience", "backends", "-jwks-user-claim", "email")
	eventually(t, "the keys are there", func() bool {
		status, _ := n.with(first, "POST", "/hubs/chat/negotiate?negotiateVersion=1", "")
		return status == 200
	})
	status, _ := n.with(sign("second", "clients"), "POST", "/hubs/other/negotiate?negotiateVersion=1", "") // a key that the node has not seen
	n.want("with a new key", status, 200)
	status, _ = n.with(sign("second", "backends"), "POST", "/api/hubs/chat/send", `{"target":"m"}`)
	n.want("a backend's send", status, 202)
	status, _ = n.with(first, "POST", "/api/hubs/chat/send", `{"target":"m"}`)
	n.want("a client's send", status, 401)
	status, _ = n.with(sign("second", "others"), "POST", "/hubs/chat/negotiate", "")
	n.want("for somebody else", status, 401)
	status, _ = n.with(n.token(keyOne, access.ClientAudience), "POST", "/hubs/chat/negotiate", "")
	n.want("with an access key, where there is none", status, 401)
}
