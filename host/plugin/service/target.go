package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// target is where a request goes, in the one form that is compared: lower case, no trailing dot, the port always there,
// an address as an address.
type target struct {
	scheme string
	name   string     // empty if addr is set
	addr   netip.Addr // not mapped, without zone
	port   uint16
}

// host is the name or the address.
func (t target) host() string {
	if t.addr.IsValid() {
		return t.addr.String()
	}
	return t.name
}

// hostport is the host with the port, unless that is the scheme's own, as it stands in a URL.
func (t target) hostport() string {
	if t.port != defaultPort(t.scheme) {
		return net.JoinHostPort(t.host(), strconv.Itoa(int(t.port)))
	}
	if t.addr.Is6() {
		return "[" + t.addr.String() + "]"
	}
	return t.host()
}

// grant is what allows the target, as the user would write it.
func (t target) grant() string {
	if t.scheme == "http" {
		return "http://" + t.hostport()
	}
	return t.hostport()
}

func defaultPort(scheme string) uint16 {
	if scheme == "http" {
		return 80
	}
	return 443
}

// parseTarget reads where a URL goes. What could be understood in two ways is refused.
func parseTarget(u *url.URL) (target, error) {
	scheme := strings.ToLower(u.Scheme)
	if scheme != "https" && scheme != "http" {
		return target{}, fmt.Errorf("the scheme is %q, and must be https or http", cut(u.Scheme, 40))
	}
	if u.Opaque != "" || u.Host == "" {
		return target{}, errors.New("it has no host")
	}
	return parseHostPort(scheme, u.Host)
}

// parseHostPort reads "host", "host:port", "address", "[address]:port".
func parseHostPort(scheme, hostport string) (target, error) {
	t := target{scheme: scheme, port: defaultPort(scheme)}
	host, port := hostport, ""
	if end := strings.LastIndexByte(hostport, ']'); strings.HasPrefix(hostport, "[") && end > 0 {
		host, port = hostport[1:end], hostport[end+1:]
		if !strings.Contains(host, ":") || port != "" && port[0] != ':' {
			return target{}, fmt.Errorf("%q is no host", cut(hostport, 260))
		}
		port = strings.TrimPrefix(port, ":")
	} else if before, after, ok := strings.Cut(hostport, ":"); ok && !strings.Contains(after, ":") {
		host, port = before, after
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || port[0] == '0' || strings.Trim(port, "0123456789") != "" {
			return target{}, fmt.Errorf("the port %q is not a number from 1 to 65535", cut(port, 20))
		}
		t.port = uint16(n)
	}
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		if err != nil || addr.Zone() != "" {
			return target{}, fmt.Errorf("%q is no IPv6 address without a zone", cut(host, 80))
		}
		t.addr = addr.Unmap()
		return t, nil
	}
	name := strings.TrimSuffix(asciiLower(host), ".")
	if looksNumeric(name) {
		// 0x7f.1, 127.1 and 2130706433 are addresses to some resolvers and names to others.
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return target{}, fmt.Errorf("%q is neither a name nor four decimal numbers with dots", cut(host, 80))
		}
		t.addr = addr
		return t, nil
	}
	if err := validName(name); err != nil {
		return target{}, err
	}
	t.name = name
	return t, nil
}

// looksNumeric says whether the last label is a number to anybody, which no top-level domain is.
func looksNumeric(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

func validName(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
		return fmt.Errorf(`%q has letters beyond ASCII: write the name in its ASCII form, which has labels that begin with "xn--"`, cut(name, 260))
	}
	if name == "" || len(name) > 253 {
		return fmt.Errorf("%q is no host name", cut(name, 260))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("%q is no host name", cut(name, 260))
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%q is no host name: a label begins or ends with a dash", cut(name, 260))
		}
	}
	return nil
}

// asciiLower leaves other letters alone: strings.ToLower turns U+212A, the Kelvin sign, into a k.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// cut shortens what goes into an error.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
