package registry

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// eitherDialer connects to a registry of which nobody says whether it speaks TLS: it tries, and takes plain TCP where that
// fails. To the transport all is plain HTTP.
type eitherDialer struct {
	dialer *net.Dialer
	plain  string // the registry's address where it speaks HTTP
	secure string // and where it would speak TLS
	config *tls.Config
	wait   time.Duration
	isHTTP atomic.Bool // once it was seen not to speak TLS
}

// newEitherDialer makes the dialer for a registry named by its host, with a port or without.
func newEitherDialer(host string, config *tls.Config, wait time.Duration) *eitherDialer {
	d := &eitherDialer{
		dialer: &net.Dialer{Timeout: wait, KeepAlive: 30 * time.Second}, plain: host, secure: host, config: config.Clone(), wait: wait,
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else {
		name = strings.Trim(name, "[]")
		d.plain, d.secure = net.JoinHostPort(name, "80"), net.JoinHostPort(name, "443")
	}
	d.config.ServerName = name
	d.config.NextProtos = []string{"http/1.1"} // the transport believes that it speaks plain HTTP
	return d
}

func (d *eitherDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address != d.plain || d.isHTTP.Load() {
		return d.dialer.DialContext(ctx, network, address)
	}
	conn, failure := d.dialer.DialContext(ctx, network, d.secure)
	if failure == nil {
		within, cancel := context.WithTimeout(ctx, d.wait)
		defer cancel()
		secured := tls.Client(conn, d.config)
		if failure = secured.HandshakeContext(within); failure == nil {
			return secured, nil
		}
		_ = conn.Close() // why it is of no use is known
	}
	if ctx.Err() != nil {
		return nil, failure
	}
	conn, err := d.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, failure // what it said first: the other way was a last resort
	}
	d.isHTTP.Store(true)
	return conn, nil
}
