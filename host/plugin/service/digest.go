package service

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Describe writes the grants in the one way that equal grants have: a line for each thing, sorted. It shows where secrets
// come from, not what they are.
func (g Grants) Describe() string {
	var b strings.Builder
	for _, h := range canonicalHosts(g.Hosts) {
		fmt.Fprintf(&b, "host %q\n", h)
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(g.Env))) {
		fmt.Fprintf(&b, "env %q\n", name)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Secrets)) {
		s := g.Secrets[name]
		fmt.Fprintf(&b, "secret %q use %q", name, s.Use)
		if s.Env != "" {
			fmt.Fprintf(&b, " env %q", s.Env)
		}
		if s.File != "" {
			fmt.Fprintf(&b, " file %q", s.File)
		}
		for _, h := range canonicalHosts(s.Hosts) {
			fmt.Fprintf(&b, " host %q", h)
		}
		b.WriteByte('\n')
	}
	files := filesRoots()
	if g.Files != nil {
		files = slices.Compact(slices.Sorted(slices.Values(*g.Files)))
	}
	for _, f := range files {
		fmt.Fprintf(&b, "files %q\n", f)
	}
	return b.String()
}

// Digest names the grants, for the lock file: "sha256:…".
func (g Grants) Digest() string {
	sum := sha256.Sum256([]byte("trowel grants 1\n" + g.Describe()))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// canonicalHosts writes hosts in one way. What is no host stays as it is; Validate tells of it.
func canonicalHosts(hosts []string) []string {
	canonical := make([]string, len(hosts))
	for i, h := range hosts {
		canonical[i] = h
		if p, err := parsePattern(h); err == nil {
			canonical[i] = p.String()
		}
	}
	slices.Sort(canonical)
	return slices.Compact(canonical)
}
