package registry

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// defaultTransfers is how many blobs move at once in each direction; a few streams fill a link, more only make
	// registries answer 429.
	defaultTransfers = 6
	// connectionBuffer is the size of a connection's read and write buffers.
	connectionBuffer = 256 << 10
	// downFor is how long an unreachable mirror is left out.
	downFor = time.Minute
	// maxRedirects is how many redirects of one request are followed.
	maxRedirects = 10
)

// host is a registry as the client knows it: where it is, how to connect, and what it wants to see.
type host struct {
	name      string   // as in references and settings
	base      *url.URL // scheme and host
	own       *http.Transport
	foreign   *http.Transport // for other hosts that the registry sends us to; shows no client certificate
	auth      *authenticator
	pulls     slots
	pushes    slots
	retry     Retry
	timeouts  Timeouts
	clock     clock
	log       *slog.Logger
	userAgent string
	downUntil atomic.Int64 // Unix nanoseconds
}

func newHost(name string, settings Settings, options Options, keys *keychain) (*host, error) {
	scheme := "https"
	mode := settings.mode(name)
	if mode == TLSOff || mode == TLSInsecure {
		scheme = "http"
	}
	config, err := settings.tlsConfig(options.RootCAs)
	if err != nil {
		return nil, err
	}
	h := &host{
		name: name, base: &url.URL{Scheme: scheme, Host: apiHost(name)},
		retry: options.Retry, timeouts: options.Timeouts, clock: options.clock, log: options.Logger, userAgent: options.UserAgent,
	}
	h.own = newTransport(config, options)
	if mode == TLSInsecure {
		// Whether it speaks TLS is found out by doing, at each connection.
		h.own.DialContext = newEitherDialer(h.base.Host, config, options.Timeouts.Dial).dial
	}
	h.foreign = h.own
	if len(config.Certificates) > 0 {
		anonymous := config.Clone()
		anonymous.Certificates = nil
		h.foreign = newTransport(anonymous, options)
	}
	transfers := settings.Transfers
	if transfers == 0 {
		transfers = defaultTransfers
	}
	h.pulls, h.pushes = make(slots, transfers), make(slots, transfers)
	h.auth = newAuthenticator(h, keys)
	return h, nil
}

func newTransport(config *tls.Config, options Options) *http.Transport {
	dialer := &net.Dialer{Timeout: options.Timeouts.Dial, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if isLoopback(r.URL.Host) {
				return nil, nil
			}
			return options.Proxy(r.URL)
		},
		DialContext:         dialer.DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: options.Timeouts.Dial,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2 * defaultTransfers,
		IdleConnTimeout:     90 * time.Second,
		// A blob's digest is that of its bytes on the wire.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         connectionBuffer,
		WriteBufferSize:        connectionBuffer,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize: 1 << 20,
			SendPingTimeout:  30 * time.Second,
			PingTimeout:      15 * time.Second,
		},
	}
}

func (h *host) closeIdle() {
	h.own.CloseIdleConnections()
	h.foreign.CloseIdleConnections()
}

func (h *host) isDown() bool { return h.clock.now().UnixNano() < h.downUntil.Load() }

func (h *host) markDown() { h.downUntil.Store(h.clock.now().Add(downFor).UnixNano()) }

// owns says whether an address is the registry's own API, which alone may see a credential.
func (h *host) owns(u *url.URL) bool {
	return u.Scheme == h.base.Scheme && hostPort(u) == hostPort(h.base)
}

// hostPort returns the host and port of an address in a form that can be compared.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// url returns the address of something in a repository; what is the rest of the path, such as "blobs/sha256:…".
func (h *host) url(repository Repository, what string) *url.URL {
	u := *h.base
	u.Path = "/v2/" + repository.Path + "/" + what
	return &u
}

// location resolves where an answer points to. A registry behind a proxy that ends TLS may call itself http; the scheme
// in use is kept then, so that the answer cannot turn encryption off.
func (h *host) location(resp *http.Response) (*url.URL, error) {
	value := resp.Header.Get("Location")
	if value == "" {
		return nil, errNoLocation
	}
	u, err := resp.Request.URL.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errBadLocation
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.Scheme != h.base.Scheme && strings.EqualFold(u.Host, h.base.Host) {
		u.Scheme = h.base.Scheme
	}
	return u, nil
}

// slots bounds how many transfers run at once.
type slots chan struct{}

func (s slots) acquire(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) release() { <-s }

// drain reads the little that is left of an answer, so that its connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxErrorBody)
	body.Close()
}
