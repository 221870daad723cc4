package service

import (
	"net/netip"
	"net/url"

	"github.com/trowel-build/trowel/sdk"
)

// policy decides where a plugin's requests may go: by the URL of each hop, and by each address that is dialled.
type policy struct {
	plugin string
	hosts  []pattern
	rules  addressRules
}

func newPolicy(plugin string, hosts []string) (*policy, error) {
	patterns, err := parsePatterns(hosts)
	if err != nil {
		return nil, err
	}
	return &policy{plugin: plugin, hosts: patterns, rules: newAddressRules()}, nil
}

func parsePatterns(hosts []string) ([]pattern, error) {
	var patterns []pattern
	for _, h := range hosts {
		p, err := parsePattern(h)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

// check reads where a URL goes and says whether the user granted it.
func (p *policy) check(u *url.URL) (target, error) {
	t, err := parseTarget(u)
	if err != nil {
		return target{}, fault(sdk.CodeInvalid, "URL %q: %v", showURL(u), err)
	}
	for _, h := range p.hosts {
		if h.matches(t) {
			return t, nil
		}
	}
	return target{}, fault(sdk.CodeDenied, "%q is not granted to plugin %q: add %q to plugins.%s.allow.hosts",
		t.scheme+"://"+t.hostport(), p.plugin, t.grant(), p.plugin)
}

// dial says whether an address may be connected to on the way to the host of that name.
func (p *policy) dial(host string, at netip.AddrPort) error {
	addr := at.Addr().WithZone("").Unmap()
	at = netip.AddrPortFrom(addr, at.Port())
	what := p.rules.special(addr)
	if what == "" {
		return nil
	}
	inner, carries := p.rules.carried(addr)
	for _, h := range p.hosts {
		if h.names(at) || carries && h.names(netip.AddrPortFrom(inner, at.Port())) {
			return nil
		}
	}
	if host == "localhost" && addr.IsLoopback() {
		return nil
	}
	if host == addr.String() {
		return fault(sdk.CodeDenied, "%s is %s: add %q to plugins.%s.allow.hosts if plugin %q may reach it", host, what, host, p.plugin, p.plugin)
	}
	return fault(sdk.CodeDenied, "%s resolves to %s, %s: add %q to plugins.%s.allow.hosts if plugin %q may reach it",
		host, addr, what, addr.String(), p.plugin, p.plugin)
}

// matchAny says whether one of the patterns allows t.
func matchAny(patterns []pattern, t target) bool {
	for _, p := range patterns {
		if p.matches(t) {
			return true
		}
	}
	return false
}

// showURL is a URL fit for an error: without user, query and fragment, which may hold secrets.
func showURL(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, Opaque: u.Opaque}
	return cut(shown.String(), 300)
}
