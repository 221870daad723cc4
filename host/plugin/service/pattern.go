package service

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// pattern is an entry of allow.hosts. It names a host, all hosts one label below a domain, an address, or a range.
type pattern struct {
	target                 // name is without "*."; port is the default one unless given
	wildcard  bool         // "*.example.com"
	portGiven bool         // of an address: without, it may be dialled at any port
	prefix    netip.Prefix // a range; the other fields are empty then
}

func parsePattern(text string) (pattern, error) {
	p, err := readPattern(text)
	if err != nil {
		return pattern{}, fmt.Errorf("%q: %w", cut(text, 300), err)
	}
	return p, nil
}

func readPattern(text string) (pattern, error) {
	scheme, rest := "https", text
	if before, after, ok := strings.Cut(text, "://"); ok {
		if scheme, rest = asciiLower(before), after; scheme != "https" && scheme != "http" {
			return pattern{}, errors.New("the scheme must be https or http")
		}
	}
	switch {
	case rest == "":
		return pattern{}, errors.New(`no host: write one such as "minio.example.com:9000"`)
	case strings.Contains(rest, "@"):
		return pattern{}, errors.New("a host has no user name: remove what stands before the @")
	case strings.Contains(rest, "/"):
		return readRange(rest, rest != text)
	}
	domain, wildcard := strings.CutPrefix(rest, "*.")
	if strings.Contains(domain, "*") {
		return pattern{}, errors.New(`"*" stands for one whole label at the front, as in "*.example.com"`)
	}
	t, err := parseHostPort(scheme, domain)
	if err != nil {
		return pattern{}, err
	}
	if wildcard && (t.addr.IsValid() || !strings.Contains(t.name, ".")) {
		return pattern{}, errors.New(`"*." must be followed by a domain of at least two labels, such as "*.example.com"`)
	}
	p := pattern{target: t, wildcard: wildcard}
	if t.addr.IsValid() {
		p.portGiven = strings.HasSuffix(domain, fmt.Sprintf(":%d", t.port)) && (t.addr.Is4() || strings.HasPrefix(domain, "["))
	}
	return p, nil
}

func readRange(text string, schemed bool) (pattern, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return pattern{}, errors.New(`what follows the host must go, unless this is a range of addresses such as "10.0.0.0/8"`)
	}
	if schemed {
		return pattern{}, errors.New("a range of addresses has no scheme")
	}
	if prefix.Addr().Is4In6() {
		return pattern{}, errors.New("write the range with its IPv4 address")
	}
	if masked := prefix.Masked(); masked != prefix {
		return pattern{}, fmt.Errorf("the range begins at another address: write %q", masked)
	}
	return pattern{prefix: prefix}, nil
}

// String is the one way to write the pattern.
func (p pattern) String() string {
	switch {
	case p.prefix.IsValid():
		return p.prefix.String()
	case p.addr.IsValid() && p.portGiven && p.port == defaultPort(p.scheme):
		// The port says more than the default: it also bounds where the address may be dialled.
		s := fmt.Sprintf("%s:%d", p.hostport(), p.port)
		if p.scheme == "http" {
			return "http://" + s
		}
		return s
	case p.wildcard:
		t := p.target
		t.name = "*." + t.name
		return t.grant()
	}
	return p.grant()
}

// matches says whether requests to t are what the pattern allows.
func (p pattern) matches(t target) bool { return p.scheme == t.scheme && p.matchesHost(t) }

// matchesHost leaves the scheme aside.
func (p pattern) matchesHost(t target) bool {
	if p.prefix.IsValid() || p.port != t.port {
		return false
	}
	if p.wildcard {
		label, domain, ok := strings.Cut(t.name, ".")
		return ok && label != "" && domain == p.name
	}
	return p.name == t.name && p.addr == t.addr
}

// names says whether the pattern allows the address to be dialled, whatever name led to it.
func (p pattern) names(at netip.AddrPort) bool {
	if p.prefix.IsValid() {
		return p.prefix.Contains(at.Addr()) && !isMetadata(at.Addr())
	}
	return p.addr.IsValid() && p.addr == at.Addr() && (!p.portGiven || p.port == at.Port())
}
