package service

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	maxResponseHeader = 64 << 10
	connectionBuffer  = 256 << 10
)

// network makes the connections. Each host with TLS settings of its own has connections of its own.
type network struct {
	options Options
	policy  *policy

	mu    sync.Mutex
	paths map[string]*paths // by the key of Options.TLS; "" for all other hosts
}

// paths are the two ways to a host. Who is dialled directly is checked by address; a proxy's address is the user's own
// choice, and where the proxy connects to is out of sight.
type paths struct {
	direct  *http.Transport
	proxied *http.Transport
}

func newNetwork(o Options, p *policy) *network {
	return &network{options: o, policy: p, paths: map[string]*paths{}}
}

// roundTrip sends a request whose URL was checked to its host.
func (n *network) roundTrip(req *http.Request, t target) (*http.Response, error) {
	proxy, err := n.options.Proxy(req.URL)
	if err != nil {
		return nil, fault(sdk.CodeUnavailable, "find the proxy for %s: %v", t.hostport(), hideURL(err))
	}
	p := n.pathsTo(t)
	if proxy != nil && t.host() != "localhost" && !t.addr.IsLoopback() {
		return p.proxied.RoundTrip(req)
	}
	return p.direct.RoundTrip(req)
}

func (n *network) pathsTo(t target) *paths {
	key := n.settingsKey(t)
	n.mu.Lock()
	defer n.mu.Unlock()
	if p, ok := n.paths[key]; ok {
		return p
	}
	config := &tls.Config{RootCAs: n.options.RootCAs}
	if own := n.options.TLS[key]; key != "" && own != nil {
		config = own.Clone()
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	p := &paths{direct: n.newTransport(config.Clone()), proxied: n.newTransport(config.Clone())}
	p.direct.DialContext = n.dial
	p.proxied.DialContext = (&net.Dialer{Timeout: n.options.Timeouts.Dial, KeepAlive: 30 * time.Second, Resolver: n.options.Resolver}).DialContext
	p.proxied.Proxy = func(r *http.Request) (*url.URL, error) {
		proxy, err := n.options.Proxy(r.URL)
		if err == nil && proxy == nil {
			return nil, fault(sdk.CodeUnavailable, "the proxy for %s is gone", t.hostport())
		}
		return proxy, err
	}
	n.paths[key] = p
	return p
}

// settingsKey is the key of the TLS settings for a host.
func (n *network) settingsKey(t target) string {
	full := net.JoinHostPort(t.host(), portText(t.port))
	keys := []string{full, t.hostport(), t.host()}
	if _, domain, ok := strings.Cut(t.name, "."); ok {
		keys = append(keys, "*."+domain)
	}
	for _, key := range keys {
		if _, ok := n.options.TLS[key]; ok {
			return key
		}
	}
	return ""
}

func (n *network) newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   n.options.Timeouts.TLS,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   defaultRequests,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// A blob's digest is that of its bytes on the wire, and a plugin gets what it asked for.
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		ReadBufferSize:         connectionBuffer,
		WriteBufferSize:        connectionBuffer,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize: 1 << 20,
			SendPingTimeout:  30 * time.Second,
			PingTimeout:      15 * time.Second,
		},
	}
}

// dial connects to a host, by addresses that the policy allows alone. The check comes after the name was resolved and just
// before the connection is made: no answer of a name server can come between.
func (n *network) dial(ctx context.Context, kind, hostport string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{
		Timeout: n.options.Timeouts.Dial, KeepAlive: 30 * time.Second, Resolver: n.options.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fault(sdk.CodeDenied, "%s resolves to %q, which is no address", host, address)
			}
			return n.policy.dial(host, at)
		},
	}
	return dialer.DialContext(ctx, kind, hostport)
}

func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.paths {
		p.direct.CloseIdleConnections()
		p.proxied.CloseIdleConnections()
	}
}
