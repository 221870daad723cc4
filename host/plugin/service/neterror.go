package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/trowel-build/trowel/sdk"
)

func portText(port uint16) string { return strconv.Itoa(int(port)) }

// describe says why a request has no answer, without showing more of its URL than the host.
func describe(ctx context.Context, method string, t target, err error) error {
	if coded, ok := errors.AsType[*sdk.Error](err); ok {
		return coded
	}
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, errNoAnswer) {
			return passing("%s %s: no answer in the time that the request gives it", method, t.hostport())
		}
		return ctx.Err()
	}
	if text, ok := describeTLS(t, err); ok {
		return fault(sdk.CodeUnavailable, "%s", text)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return fault(sdk.CodeUnavailable, "look up %s: no such host", t.host())
		}
		return passing("look up %s: the name server does not answer", t.host())
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
	return passing("%s%s: %s", verb, t.hostport(), networkCause(err))
}

// passing is an error that may not come again.
func passing(format string, args ...any) *sdk.Error {
	e := fault(sdk.CodeUnavailable, format, args...)
	e.Retryable = true
	return e
}

func describeTLS(t target, err error) (string, bool) {
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(record.RecordHeader[:]) == "HTTP/" {
		return t.hostport() + " speaks plain HTTP: grant " + strconv.Quote("http://"+t.hostport()) + " if that is meant to be", true
	}
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		cause := strings.TrimPrefix(verify.Err.Error(), "x509: ")
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](verify.Err); unknown {
			cause = "signed by an unknown authority"
		}
		return "verify the certificate of " + t.hostport() + ": " + cause, true
	}
	if _, alert, ok := strings.Cut(err.Error(), "remote error: tls: "); ok {
		return "set up TLS with " + t.hostport() + ": it answered " + strconv.Quote(alert), true
	}
	return "", false
}

func networkCause(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "timed out"
	}
	if strings.HasSuffix(err.Error(), "EOF") {
		return "the connection broke off"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "it speaks plain HTTP"
	}
	return hideURL(err).Error()
}

// hideURL takes the URL from an error of net/http or net/url: it could hold a signature or a proxy's password.
func hideURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
