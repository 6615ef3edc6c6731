package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hubstream/cmd/api/node"
	"hubstream/integration/valkeytest"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	a.key, der = a.issue(a.cert)
	a.write(a.file, "CERTIFICATE", der)
	return a
}

// issue makes a certificate with a key of its own, the first for the authority itself.
func (a *authority) issue(template *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, der
}

// files writes a new certificate of 127.0.0.1's, and its key.
func (a *authority) files(dir string) (cert, key string) {
	a.t.Helper()
	own, der := a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.write(cert, "CERTIFICATE", der)
	a.write(key, "PRIVATE KEY", secret)
	return cert, key
}

func (a *authority) write(file, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// valkeyWithTLS is one that wants certificates of its clients, as it does unless told otherwise.
func (a *authority) valkeyWithTLS() (server *valkeytest.Server, url string) {
	a.t.Helper()
	cert, key := a.files(a.t.TempDir())
	address := freeAddress(a.t)
	_, port, _ := net.SplitHostPort(address)
	return valkeytest.Start(a.t, valkeytest.Args("--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", a.file)), "valkeys://" + address
}

// send is the status of a send.
func (n *running) send() int {
	n.t.Helper()
	answer, err := http.Post(n.url+"/api/hubs/chat/send", "application/json", strings.NewReader(`{"target":"m","arguments":[]}`))
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func TestValkeyThatWantsCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	server, url := ca.valkeyWithTLS()
	dir := t.TempDir()
	cert, key := ca.files(dir)
	log := newOutput()
	n := startLogging(t, log, "-valkey", url, "-valkey-ca", ca.file, "-valkey-cert", cert, "-valkey-key", key)
	if status := n.send(); status != http.StatusAccepted {
		t.Fatalf("a send has the status %d", status)
	}
	// Its files are read for each connection.
	if err := os.WriteFile(cert, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	server.Do("CLIENT", "KILL", "SKIPME", "yes")
	eventually(t, "no more sends, without a certificate", func() bool { return n.send() != http.StatusAccepted })
	eventually(t, "what is wrong with the certificate in the log", func() bool { return strings.Contains(log.String(), "-valkey-cert") })
	ca.files(dir)
	eventually(t, "sends with the renewed certificate", func() bool { return n.send() == http.StatusAccepted })
	eventually(t, "that it is in use again in the log", func() bool { return strings.Contains(log.String(), "store usable again") })
}

// What would end the node's start, check finds.
func TestCheckReadsTheCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.files(t.TempDir())
	_, otherKey := ca.files(t.TempDir())
	check := func(args ...string) error {
		return node.Run(t.Context(), append([]string{"check", "-valkey", "valkeys://a:1"}, args...), none, io.Discard, io.Discard)
	}
	if err := check("-valkey-ca", ca.file, "-valkey-cert", cert, "-valkey-key", key); err != nil {
		t.Error(err)
	}
	checkError(t, check("-valkey-ca", "/nowhere"), "-valkey-ca", "no such file")
	checkError(t, check("-valkey-ca", key), "-valkey-ca", "no certificate")
	checkError(t, check("-valkey-cert", "/nowhere", "-valkey-key", key), "-valkey-cert", "no such file")
	checkError(t, check("-valkey-cert", cert, "-valkey-key", otherKey), "-valkey-cert", "does not match")
}

func TestValkeyThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	_, url := ca.valkeyWithTLS()
	cert, key := ca.files(t.TempDir())
	for want, args := range map[string][]string{
		"unknown authority":    {"-valkey-ca", other.file, "-valkey-cert", cert, "-valkey-key", key},
		"certificate required": {"-valkey-ca", ca.file},
	} {
		log := newOutput()
		n := startLogging(t, log, append(args, "-valkey", url)...)
		eventually(t, want+" in the log", func() bool { return strings.Contains(log.String(), want) })
		if status, text, _ := n.do("GET", "/readyz", ""); status != http.StatusServiceUnavailable {
			t.Errorf("%v: it is ready: %d %s", args, status, text)
		}
	}
}
