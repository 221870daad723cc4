package service

import (
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// FillReply puts secrets in the place of the references {{secret:NAME}} in what a credential plugin answered about a
// registry, such as "registry.example.com:5000". The secrets need the use "reply", and a grant for the registry.
func (s *Services) FillReply(text, registry string) (string, error) {
	if !hasReference(text) {
		return text, nil
	}
	t, err := parseHostPort("https", registry)
	if err != nil {
		return "", s.safe(fault(sdk.CodeInvalid, "fill in a credential for %q: %v", cut(registry, 300), err))
	}
	filled, err := fill(text, func(name string) (string, error) { return s.vault.forRegistry(name, t) })
	return filled, s.safe(err)
}

// forRegistry returns a secret for a credential. The scheme is no part of what a registry is called.
func (v *vault) forRegistry(name string, t target) (string, error) {
	if err := v.allow(name, UseReply); err != nil {
		return "", err
	}
	patterns, bound := v.hosts[name]
	for _, p := range patterns {
		if p.matchesHost(t) {
			return v.fresh(name)
		}
	}
	if bound {
		return "", fault(sdk.CodeDenied, "the secret %q is not granted for the registry %q: add %q to plugins.%s.allow.secrets.%s.hosts",
			name, t.hostport(), strings.TrimPrefix(t.grant(), "http://"), v.plugin, name)
	}
	return v.fresh(name)
}

// fresh reads a secret anew if it is in a file: a registry may just have refused what the file held before.
func (v *vault) fresh(name string) (string, error) {
	v.mu.Lock()
	if v.grants[name].File != "" {
		delete(v.values, name)
	}
	v.mu.Unlock()
	return v.value(name)
}
