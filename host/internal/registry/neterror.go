package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
)

// networkError is a request without an answer, in words for a user: which host, and what became of it.
type networkError struct {
	text    string
	hint    string
	cure    Cure
	passing bool // a repetition may succeed
	err     error
}

// Error returns the text, such as "connect to registry.example.com: connection refused".
func (e *networkError) Error() string { return e.text }

// Unwrap returns the cause.
func (e *networkError) Unwrap() error { return e.err }

func isNetworkError(err error) bool {
	_, ok := errors.AsType[*networkError](err)
	return ok
}

// describeNetworkError says what happened at an address without showing more of the address than its host.
func describeNetworkError(at *url.URL, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if source, ok := errors.AsType[*sourceError](err); ok {
		return source
	}
	host := at.Host
	if described := describeTLSError(host, err); described != nil {
		return described
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return &networkError{text: "look up " + host + ": no such host", err: err}
		}
		return &networkError{text: "look up " + host + ": the name server does not answer", passing: true, err: err}
	}
	verb := "talk to "
	if op, ok := errors.AsType[*net.OpError](err); ok {
		switch op.Op {
		case "dial":
			verb = "connect to "
		case "proxyconnect":
			verb = "connect to the proxy for "
		}
	}
	return &networkError{text: verb + host + ": " + networkCause(err), passing: true, err: err}
}

func describeTLSError(host string, err error) error {
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(record.RecordHeader[:]) == "HTTP/" {
		return &networkError{
			text: host + " speaks plain HTTP, not HTTPS",
			hint: fmt.Sprintf("if that is meant to be, set tls = \"off\" under [registry.%q] in trowel.toml", host),
			cure: Cure{host, CureTLS},
			err:  err,
		}
	}
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &networkError{
			text: "verify the certificate of " + host + ": " + certificateCause(verify.Err),
			hint: fmt.Sprintf("name the authority's certificate as ca under [registry.%q] in trowel.toml", host),
			cure: Cure{host, CureAuthority},
			err:  err,
		}
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok || strings.Contains(err.Error(), "remote error: tls: ") {
		_, alert, _ := strings.Cut(err.Error(), "tls: ")
		return &networkError{
			text: "set up TLS with " + host + ": it answered \"" + alert + "\"",
			hint: fmt.Sprintf("if it wants a certificate, set client-cert and client-key under [registry.%q] in trowel.toml", host),
			cure: Cure{host, CureClientCert},
			err:  err,
		}
	}
	return nil
}

func certificateCause(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "signed by an unknown authority"
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

func networkCause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if errors.Is(err, errNoAnswer) || errors.Is(err, errStalled) {
		return err.Error()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "timed out"
	}
	if strings.HasSuffix(err.Error(), "EOF") {
		return "the connection broke off"
	}
	// The wording of what is left is that of net/http; an address in it could carry a signature.
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	return err.Error()
}
