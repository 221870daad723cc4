package lower

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// expose lowers EXPOSE. A word may expand to several.
func (l *lowering) expose(c *dockerfile.Expose, step *Step) error {
	var ports []string
	for _, word := range c.Ports {
		words, err := l.lex.Words(word, &l.vars)
		if err != nil {
			return l.fail(word, err, "")
		}
		for _, w := range words {
			some, err := l.parsePorts(w)
			if err != nil {
				return l.fail(word, fmt.Errorf("port %q: %w", w, err), "write it as in 80, 53/udp or 8000-8010/tcp")
			}
			ports = append(ports, some...)
		}
	}
	l.config.ExposedPorts = cloneMap(l.config.ExposedPorts)
	for _, p := range ports {
		l.config.ExposedPorts[p] = struct{}{}
	}
	step.Effects = []effect.Effect{set("ExposedPorts", l.config.ExposedPorts)}
	step.CreatedBy = fmt.Sprintf("EXPOSE %v", ports)
	return nil
}

// parsePorts reads [address:][host port:]port[/protocol] and returns "port/protocol" for each port of the range. What is
// before the port is tolerated, as BuildKit does, and means nothing.
func (l *lowering) parsePorts(word string) ([]string, error) {
	address, host, port := splitPort(word)
	port, written, _ := strings.Cut(port, "/")
	protocol := strings.ToLower(written)
	switch protocol {
	case "":
		protocol = "tcp"
	case "tcp", "udp", "sctp":
	default:
		return nil, fmt.Errorf("unknown protocol %q: it is tcp, udp or sctp", protocol)
	}
	if strings.ToLower(written) != written {
		l.checks.ExposeProtoCasing(word)
	}
	if address != "" || host != "" {
		l.checks.ExposeInvalidFormat(word)
	}
	if address != "" {
		if _, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")); err != nil {
			return nil, fmt.Errorf("address %q: %w", address, err)
		}
	}
	first, last, err := portRange(port)
	if err != nil {
		return nil, err
	}
	if host != "" {
		hostFirst, hostLast, err := portRange(host)
		if err != nil {
			return nil, err
		}
		if first != last && last-first != hostLast-hostFirst {
			return nil, fmt.Errorf("the ranges %s and %s differ in size", host, port)
		}
	}
	ports := make([]string, 0, last-first+1)
	for n := first; n <= last; n++ {
		ports = append(ports, strconv.Itoa(n)+"/"+protocol)
	}
	return ports, nil
}

// splitPort cuts a word at its last two colons: an IPv6 address has more.
func splitPort(word string) (address, host, port string) {
	at := strings.LastIndexByte(word, ':')
	if at < 0 {
		return "", "", word
	}
	host, port = word[:at], word[at+1:]
	if at = strings.LastIndexByte(host, ':'); at >= 0 {
		address, host = host[:at], host[at+1:]
	}
	return address, host, port
}

func portRange(s string) (first, last int, err error) {
	low, high, isRange := strings.Cut(s, "-")
	if first, err = portNumber(low); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = portNumber(high); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("the range %s ends before it starts", s)
	}
	return first, last, nil
}

func portNumber(s string) (int, error) {
	if s == "" {
		return 0, errors.New("the number is missing")
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no number from 0 to 65535", s)
	}
	return int(n), nil
}
