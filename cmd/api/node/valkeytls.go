package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"hubstream/streams"
)

// checkValkeyTLS checks that what is said of certificates can be meant so.
func (c *Config) checkValkeyTLS() error {
	addresses := streams.ValkeyConfig{Addresses: c.Valkey}
	secure, _ := addresses.Secure()
	for name, file := range map[string]string{"valkey-ca": c.ValkeyCA, "valkey-cert": c.ValkeyCert, "valkey-key": c.ValkeyKey} {
		if file != "" && !secure {
			return fmt.Errorf("-%s (%s) needs addresses with valkeys:// in -valkey (%s)", name, variable(name), variable("valkey"))
		}
	}
	if (c.ValkeyCert == "") != (c.ValkeyKey == "") {
		return fmt.Errorf("-valkey-cert (%s) and -valkey-key (%s) go together", variable("valkey-cert"), variable("valkey-key"))
	}
	return nil
}

// valkeyTLS is how connections to Valkey are secured; nil: as usual, if its address wants it.
func (c *Config) valkeyTLS() (*tls.Config, error) {
	if c.ValkeyCA == "" && c.ValkeyCert == "" {
		return nil, nil
	}
	secured := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ValkeyCA != "" {
		pem, err := os.ReadFile(c.ValkeyCA)
		if err != nil {
			return nil, fmt.Errorf("-valkey-ca: %w", err)
		}
		secured.RootCAs = x509.NewCertPool()
		if !secured.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("-valkey-ca: there is no certificate in %s", c.ValkeyCA)
		}
	}
	if c.ValkeyCert != "" {
		// Read for each connection: certificates are renewed while nodes run.
		read := func() (*tls.Certificate, error) {
			own, err := tls.LoadX509KeyPair(c.ValkeyCert, c.ValkeyKey)
			if err != nil {
				return nil, fmt.Errorf("-valkey-cert, -valkey-key: %w", err)
			}
			return &own, nil
		}
		if _, err := read(); err != nil {
			return nil, err
		}
		secured.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return read() }
	}
	return secured, nil
}
