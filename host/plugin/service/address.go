package service

import "net/netip"

// specialNetwork is a range of addresses that are nobody's on the Internet.
type specialNetwork struct {
	prefix string
	what   string
}

// specialNetworks are those of the registries of RFC 6890 that are not reached unless somebody names them. The first that
// holds an address says what it is.
func specialNetworks() []specialNetwork {
	return []specialNetwork{
		{"0.0.0.0/8", "an unspecified address"},
		{"10.0.0.0/8", "a private address"},
		{"100.64.0.0/10", "an address of a carrier's network (CGNAT)"},
		{"127.0.0.0/8", "a loopback address"},
		{"169.254.0.0/16", "a link-local address"},
		{"172.16.0.0/12", "a private address"},
		{"192.0.0.0/24", "a reserved address"},
		{"192.0.2.0/24", "an address for documentation"},
		{"192.88.99.0/24", "a reserved address"},
		{"192.168.0.0/16", "a private address"},
		{"198.18.0.0/15", "an address for benchmarks"},
		{"198.51.100.0/24", "an address for documentation"},
		{"203.0.113.0/24", "an address for documentation"},
		{"224.0.0.0/4", "a multicast address"},
		{"240.0.0.0/4", "a reserved address"},
		{"::/128", "an unspecified address"},
		{"::1/128", "a loopback address"},
		{"64:ff9b:1::/48", "a private address (NAT64)"},
		{"100::/64", "a reserved address"},
		{"2001::/23", "a reserved address"},
		{"2001:db8::/32", "an address for documentation"},
		{"3fff::/20", "an address for documentation"},
		{"5f00::/16", "a reserved address"},
		{"fc00::/7", "a private address"},
		{"fe80::/10", "a link-local address"},
		{"fec0::/10", "a private address"},
		{"ff00::/8", "a multicast address"},
	}
}

// isMetadata says whether clouds give credentials to whoever asks at the address. A range does not name it: who grants
// 169.254.0.0/16 hardly means that.
func isMetadata(a netip.Addr) bool {
	switch a.String() {
	case "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
		"100.100.100.200", "192.0.0.192", "168.63.129.16":
		return true
	}
	return false
}

// addressRules know the special addresses.
type addressRules struct {
	prefixes []netip.Prefix
	what     []string
	carriers []carrier
}

// carrier is a range of IPv6 addresses that carry an IPv4 address at an offset: traffic ends there.
type carrier struct {
	prefix netip.Prefix
	offset int
}

func newAddressRules() addressRules {
	var r addressRules
	for _, n := range specialNetworks() {
		r.prefixes = append(r.prefixes, netip.MustParsePrefix(n.prefix))
		r.what = append(r.what, n.what)
	}
	r.carriers = []carrier{
		{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64, RFC 6052
		{netip.MustParsePrefix("2002::/16"), 2},     // 6to4, RFC 3056
		{netip.MustParsePrefix("::/96"), 12},        // IPv4-compatible, RFC 4291
	}
	return r
}

// special says what makes an address one that only its own grant opens; empty means that nothing does.
func (r addressRules) special(a netip.Addr) string {
	if isMetadata(a) {
		return "where a cloud gives out credentials"
	}
	for i, p := range r.prefixes {
		if p.Contains(a) {
			return r.what[i]
		}
	}
	if inner, ok := r.carried(a); ok {
		return r.special(inner)
	}
	return ""
}

// carried returns the IPv4 address within an IPv6 address.
func (r addressRules) carried(a netip.Addr) (netip.Addr, bool) {
	if !a.Is6() {
		return netip.Addr{}, false
	}
	for _, c := range r.carriers {
		if c.prefix.Contains(a) {
			b := a.As16()
			return netip.AddrFrom4([4]byte(b[c.offset : c.offset+4])), true
		}
	}
	return netip.Addr{}, false
}
