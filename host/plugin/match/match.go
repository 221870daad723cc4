// Package match decides which registries and repositories a credential plugin is asked about, by the patterns under
// "match" in its table of trowel.toml:
//
//	registry.example.com            the registry, whatever the repository
//	*.gitlab.example.com            registries one label below that domain
//	*.dkr.ecr.*.amazonaws.com       a "*" stands for one label, or for a part of one
//	registry.example.com:5000       the registry at that port; without a port a pattern means the default one
//	localhost:*                     any port that is given
//	ghcr.io/acme                    the repositories at and below a path
//	ghcr.io/acme/app-*              the "*" stands for one element of the path, or for a part of one
//	*                               every registry
//
// A pattern never fits more than it says: another port, a domain that ends alike, or a longer name are other registries.
package match

import (
	"fmt"
	"slices"
	"strings"
)

// dockerHub is the name of Docker Hub's registry in references and requests.
const dockerHub = "docker.io"

// Pattern is one pattern. The zero value fits nothing.
type Pattern struct {
	labels   []string // of the host
	port     string   // empty: the default one
	elements []string // of the path; none: every repository
	every    bool     // registry, whatever its name
}

// Parse reads a pattern.
func Parse(text string) (Pattern, error) {
	p, reason := parse(text)
	if reason != "" {
		return Pattern{}, fmt.Errorf("match %q: %s", text, reason)
	}
	return p, nil
}

// parse reads a pattern, or says what is wrong with it and how to put it right.
func parse(text string) (p Pattern, reason string) {
	if _, rest, ok := strings.Cut(text, "://"); ok {
		return p, fmt.Sprintf("leave out the scheme: %q", rest)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) || strings.ContainsAny(text, "@?#%\\") {
		return p, `want a host with an optional path, such as "registry.example.com/team/*"`
	}
	if strings.Contains(text, "**") {
		return p, `"*" is for one label or element, and a path holds for all below it: write "*" for "**", or leave it out`
	}
	host, path, hasPath := strings.Cut(text, "/")
	if hasPath {
		if path = strings.TrimSuffix(path, "/"); path == "" {
			return p, fmt.Sprintf("leave out the slash: %q", host)
		}
		p.elements = strings.Split(path, "/")
	}
	name, port, ok := splitPort(strings.ToLower(host))
	p.labels, p.port = strings.Split(hubName(name), "."), port
	if name == "*" && port == "" {
		p.every = true
	}
	switch {
	case !ok || name == "":
		return p, `want a host with an optional port and path, such as "registry.example.com:5000/team"`
	case slices.Contains(p.labels, ""):
		return p, "a label of the host is empty: take out the extra dot"
	case slices.Contains(p.elements, ""):
		return p, "an element of the path is empty: take out the extra slash"
	case strings.Contains(path, ":"):
		return p, "leave out the tag: a credential is for repositories"
	case !made(port, isDigit):
		return p, `want a number for the port, or "*" for any`
	case !strings.HasPrefix(name, "[") && !made(name, func(b byte) bool { return isHostByte(b) || b == '.' }):
		return p, "a host has letters, digits, \".\", \"-\" and \"*\" only"
	case !made(path, func(b byte) bool { return isPathByte(b) || b == '/' }):
		return p, "a repository's path has lower-case letters, digits, \".\", \"_\", \"-\" and \"*\" only"
	}
	return p, ""
}

// made says whether a pattern is made of such bytes and "*".
func made(pattern string, of func(byte) bool) bool {
	for i := range len(pattern) {
		if pattern[i] != '*' && !of(pattern[i]) {
			return false
		}
	}
	return true
}

// httpsPort is the default one: a registry that is named with it is the one that is named without.
const httpsPort = "443"

// splitPort cuts "host:port". The default port is left out.
func splitPort(host string) (name, port string, ok bool) {
	name, port, ok = cutPort(host)
	if port == httpsPort {
		port = ""
	}
	return name, port, ok
}

// cutPort cuts "host:port". An IPv6 address stands in brackets.
func cutPort(host string) (name, port string, ok bool) {
	if strings.HasPrefix(host, "[") {
		address, rest, closed := strings.Cut(host, "]")
		if !closed {
			return "", "", false
		}
		if rest == "" {
			return host, "", true
		}
		port, ok = strings.CutPrefix(rest, ":")
		return address + "]", port, ok && port != ""
	}
	name, port, has := strings.Cut(host, ":")
	return name, port, !has || port != "" && !strings.Contains(port, ":")
}

// hubName maps the other names of Docker Hub to the one that requests have.
func hubName(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return host
}

// fitsHost says whether the pattern is about a registry.
func (p Pattern) fitsHost(registry string) bool {
	if p.every {
		return registry != ""
	}
	name, port, ok := splitPort(strings.ToLower(registry))
	if !ok || (port == "") != (p.port == "") || !glob(p.port, port, isDigit) {
		return false
	}
	labels := strings.Split(hubName(name), ".")
	return len(labels) == len(p.labels) && fitAll(p.labels, labels, isHostByte)
}

// Fits says whether the pattern is about a repository; the repository is empty where a registry as a whole is meant,
// which a pattern with a path does not fit.
func (p Pattern) Fits(registry, repository string) bool {
	if !p.fitsHost(registry) {
		return false
	}
	if len(p.elements) == 0 {
		return true
	}
	elements := strings.Split(repository, "/")
	return len(elements) >= len(p.elements) && fitAll(p.elements, elements, isPathByte)
}

// fitAll says whether each pattern fits its value; there may be more values than patterns.
func fitAll(patterns, values []string, inStar func(byte) bool) bool {
	for i, pattern := range patterns {
		if values[i] == "" || !glob(pattern, values[i], inStar) {
			return false
		}
	}
	return true
}

// glob says whether a pattern with "*" fits a value. What a "*" stands for has only bytes that inStar allows.
func glob(pattern, value string, inStar func(byte) bool) bool {
	// Only the last "*" need be tried again: what the ones before it took can stay as short as it is.
	star, from := -1, 0
	i, j := 0, 0
	for j < len(value) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, j
			i++
		case i < len(pattern) && pattern[i] == value[j]:
			i++
			j++
		case star >= 0 && inStar(value[from]):
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func isHostByte(b byte) bool {
	return b >= 'a' && b <= 'z' || isDigit(b) || b == '-' || b == '_'
}

func isPathByte(b byte) bool {
	return isHostByte(b) || b == '.'
}
