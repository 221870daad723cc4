package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Options configure a [Client]. The zero value works: no credentials, no mirrors, the system's certificates.
type Options struct {
	// Registries holds settings by the registry's name: host, with the port where there is one.
	Registries map[string]Settings
	// Default holds the settings of registries that Registries does not name.
	Default Settings
	// Credentials are asked in order, and only when a registry demands a credential.
	Credentials []sdk.CredentialProvider
	// UserAgent is sent with every request.
	UserAgent string
	// RootCAs are trusted by default; nil means the system's.
	RootCAs *x509.CertPool
	// Proxy returns the proxy for an address, or nil; a nil function means HTTPS_PROXY, HTTP_PROXY and NO_PROXY of
	// the environment. A registry on this machine is never reached through a proxy.
	Proxy func(*url.URL) (*url.URL, error)
	// Retry says how often and how soon a request is repeated after a passing fault.
	Retry Retry
	// Timeouts bound the waiting within a request.
	Timeouts Timeouts
	// Logger is told of retries and of mirrors passed over; nil discards.
	Logger *slog.Logger

	clock clock
}

// Timeouts bound the waiting within a request; there is none for a request as a whole, for a layer may be large.
type Timeouts struct {
	Dial   time.Duration // to connect, and again for the TLS handshake; 0 means 10 s
	Answer time.Duration // from the end of a request to the first byte of its answer; 0 means 60 s
	Commit time.Duration // the same where the registry has to store a whole blob first; 0 means 5 min
	Stall  time.Duration // without any byte moving, in either direction; 0 means 60 s
	Idle   time.Duration // that an upload may wait for more of a growing blob before it is paused; 0 means 15 s
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&t.Dial, 10 * time.Second},
		{&t.Answer, 60 * time.Second},
		{&t.Commit, 5 * time.Minute},
		{&t.Stall, 60 * time.Second},
		{&t.Idle, 15 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	return t
}

func (o Options) withDefaults() Options {
	if o.UserAgent == "" {
		o.UserAgent = "trowel"
	}
	if o.Proxy == nil {
		o.Proxy = Proxy{}.Func()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.clock == nil {
		o.clock = systemClock{}
	}
	o.Retry = o.Retry.withDefaults()
	o.Timeouts = o.Timeouts.withDefaults()
	return o
}

// Client talks to registries. Its methods may be called from several goroutines at once.
type Client struct {
	options  Options
	keychain *keychain
	inflight *flights

	mu    sync.Mutex
	hosts map[string]*host
	known map[blobKey]struct{} // blobs that a repository is known to have
}

// blobKey is a blob in a repository.
type blobKey struct {
	repository Repository
	digest     string
}

// New returns a client. It reads the certificates that the settings name and connects to nothing.
func New(options Options) (*Client, error) {
	options = options.withDefaults()
	registries := make(map[string]Settings, len(options.Registries))
	for name, settings := range options.Registries {
		if err := settings.Validate(); err != nil {
			return nil, fmt.Errorf("settings of registry %q: %w", name, err)
		}
		registries[canonicalRegistry(name)] = settings
	}
	options.Registries = registries
	if err := options.Default.Validate(); err != nil {
		return nil, fmt.Errorf("settings of all registries: %w", err)
	}
	c := &Client{
		options:  options,
		keychain: newKeychain(options.Credentials, options.clock, options.Logger),
		inflight: newFlights(),
		hosts:    map[string]*host{},
		known:    map[blobKey]struct{}{},
	}
	for name := range registries {
		if _, err := c.host(name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Close drops idle connections. Requests under way go on.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.closeIdle()
	}
}

// host returns what is kept of a registry.
func (c *Client) host(name string) (*host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.hosts[name]; ok {
		return h, nil
	}
	h, err := newHost(name, c.settings(name), c.options, c.keychain)
	if err != nil {
		return nil, fmt.Errorf("settings of registry %q: %w", name, err)
	}
	c.hosts[name] = h
	return h, nil
}

// settings are those of a registry. That no certificate is to be verified, where it is said of all, is no reason to demand one
// of a registry on this machine.
func (c *Client) settings(name string) Settings {
	s, known := c.options.Registries[name]
	if !known {
		s = c.options.Default
	}
	private := TLSMode("")
	if IsPrivate(name) {
		private = c.options.Default.Private
	}
	switch {
	case !known && s.TLS == TLSSkip && (isLoopback(name) || private != ""):
		s.TLS = TLSInsecure
	case s.TLS == "" && s.CA == "" && s.ClientCert == "":
		s.TLS = private
	}
	return s
}

// source is a place to pull a repository from: its registry, or a mirror of it.
type source struct {
	*host
	repository Repository // as the source names it
	mirror     bool
	last       bool // nobody else is left to be asked
}

// sources returns the mirrors of the repository's registry, then the registry itself if it may be asked. A mirror that was
// unreachable a moment ago is left out, unless there would be nobody left.
func (c *Client) sources(repository Repository) ([]source, error) {
	var all []source
	settings := c.settings(repository.Registry)
	only := settings.MirrorsOnly && len(settings.Mirrors) > 0
	for i, mirror := range settings.Mirrors {
		at, err := parseMirror(mirror)
		if err != nil {
			return nil, err
		}
		h, err := c.host(at.Registry)
		if err != nil {
			return nil, err
		}
		last := only && i == len(settings.Mirrors)-1
		if h.isDown() && !last {
			continue
		}
		at.Path = strings.TrimPrefix(at.Path+"/"+repository.Path, "/")
		all = append(all, source{host: h, repository: at, mirror: true, last: last})
	}
	if only {
		return all, nil
	}
	h, err := c.host(repository.Registry)
	if err != nil {
		return nil, err
	}
	return append(all, source{host: h, repository: repository, last: true}), nil
}

// parseMirror reads "host[:port][/path]".
func parseMirror(mirror string) (Repository, error) {
	host, path, _ := strings.Cut(strings.TrimSuffix(mirror, "/"), "/")
	u, err := url.Parse("//" + host)
	if err != nil || host == "" || u.Host != host || strings.HasSuffix(host, ":") || strings.Contains(path, ":") {
		return Repository{}, fmt.Errorf("mirror %q must be a host with an optional path, such as %q", mirror, "mirror.example.com/hub")
	}
	return Repository{Registry: canonicalRegistry(host), Path: path}, nil
}

// pull does something with the first source that can do it. The error is that of the last one, mostly the registry itself.
func pull[T any](ctx context.Context, c *Client, repository Repository, do func(source) (T, error)) (T, error) {
	var none T
	all, err := c.sources(repository)
	if err != nil {
		return none, err
	}
	for _, src := range all {
		got, err := do(src)
		if err == nil {
			return got, nil
		}
		if ctx.Err() != nil || src.last {
			return none, err
		}
		c.passOver(ctx, src, err)
	}
	return none, nil
}

// passOver takes note of a mirror that did not do.
func (c *Client) passOver(ctx context.Context, src source, err error) {
	if isNetworkError(err) {
		src.markDown()
	}
	level := slog.LevelWarn
	if errors.Is(err, ErrNotFound) { // ordinary for a mirror that holds only a part
		level = slog.LevelDebug
	}
	c.options.Logger.Log(ctx, level, "mirror passed over", "mirror", src.name, "repository", src.repository.Path, "error", err)
}

// markKnown remembers that a repository has a blob.
func (c *Client) markKnown(key blobKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[key] = struct{}{}
}

func (c *Client) isKnown(key blobKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.known[key]
	return ok
}
