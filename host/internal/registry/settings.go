package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// Settings say how one registry is reached. They stand under [registry."host:port"] in trowel.toml.
type Settings struct {
	// Mirrors are asked before the registry itself, in order, when something is pulled; each is a host with an
	// optional path, such as "mirror.example.com/hub".
	Mirrors []string `toml:"mirrors"`
	// MirrorsOnly leaves the registry itself alone when something is pulled: what no mirror has is not found. It has no
	// effect without mirrors.
	MirrorsOnly bool `toml:"mirrors-only"`
	// TLS says how the connection is protected; see [TLSMode].
	TLS TLSMode `toml:"tls"`
	// CA is a file of PEM certificates that are trusted besides those of the system.
	CA string `toml:"ca"`
	// ClientCert and ClientKey are PEM files with the certificate that is shown to the registry.
	ClientCert string `toml:"client-cert"`
	ClientKey  string `toml:"client-key"`
	// Private is, where these are the settings of registries that have none of their own, the TLS of those that are named by a private
	// address (RFC 1918) and have none; "" is TLSVerify.
	Private TLSMode `toml:"-"`
	// Transfers is how many blobs are pulled at once, and how many pushed; 0 means 6.
	Transfers int `toml:"transfers"`
}

// TLSMode says how the connection to a registry is protected.
type TLSMode string

// The ways to protect a connection. The empty mode means TLSOff for a registry on this machine that has no
// certificates set, and TLSVerify for every other.
const (
	TLSVerify   TLSMode = "verify"   // HTTPS with a certificate that must be valid
	TLSSkip     TLSMode = "skip"     // HTTPS with whatever certificate there is
	TLSInsecure TLSMode = "insecure" // that, or plain HTTP where there is no HTTPS
	TLSOff      TLSMode = "off"      // plain HTTP
)

// Validate says what is wrong with s, if anything.
func (s Settings) Validate() error {
	switch s.TLS {
	case "", TLSVerify, TLSSkip, TLSInsecure, TLSOff:
	default:
		return fmt.Errorf(`tls is %q, and must be "verify", "skip", "insecure" or "off"`, string(s.TLS))
	}
	if s.ClientCert != "" && s.ClientKey == "" {
		return errors.New("client-cert is set without client-key")
	}
	if s.ClientKey != "" && s.ClientCert == "" {
		return errors.New("client-key is set without client-cert")
	}
	if s.TLS == TLSOff && (s.CA != "" || s.ClientCert != "") {
		return errors.New(`tls is "off", so ca and client-cert have no effect`)
	}
	if s.Transfers < 0 {
		return fmt.Errorf("transfers is %d, and must not be negative", s.Transfers)
	}
	for _, mirror := range s.Mirrors {
		if _, err := parseMirror(mirror); err != nil {
			return err
		}
	}
	return nil
}

// mode resolves the empty mode for the registry.
func (s Settings) mode(registry string) TLSMode {
	if s.TLS != "" {
		return s.TLS
	}
	if isLoopback(registry) && s.CA == "" && s.ClientCert == "" {
		return TLSOff
	}
	return TLSVerify
}

// tlsConfig reads the certificate files.
func (s Settings) tlsConfig(roots *x509.CertPool) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, InsecureSkipVerify: s.TLS == TLSSkip || s.TLS == TLSInsecure}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, fmt.Errorf("read ca: %w", err)
		}
		config.RootCAs, err = withCertificates(roots, pem)
		if err != nil {
			return nil, fmt.Errorf("read ca %q: %w", s.CA, err)
		}
	}
	if s.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("read client-cert %q: %w", s.ClientCert, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// TLSConfig is how others than the registry client reach the host: with its authorities and client certificate.
func (s Settings) TLSConfig() (*tls.Config, error) { return s.tlsConfig(nil) }

// withCertificates returns a copy of roots, or of the system's, that has the certificates too.
func withCertificates(roots *x509.CertPool, pem []byte) (*x509.CertPool, error) {
	if roots == nil {
		// A machine without any root certificate is common in small CI images; the given ones are then all there is.
		system, err := x509.SystemCertPool()
		if err != nil {
			system = x509.NewCertPool()
		}
		roots = system
	}
	pool := roots.Clone()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no PEM certificate in it")
	}
	return pool, nil
}
