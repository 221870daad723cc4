// Package env takes registry credentials from environment variables: TROWEL_REGISTRY_<HOST>_USER and
// TROWEL_REGISTRY_<HOST>_PASSWORD, where <HOST> is the registry in upper case with every other character than a letter
// or digit written as "_", so that registry.example.com:5000 is REGISTRY_EXAMPLE_COM_5000. kaniko's variables
// KANIKO_<HOST>_USER and KANIKO_<HOST>_PASSWORD hold as well; as with kaniko, <HOST> may there be a domain that the
// registry is in.
package env

import (
	"context"
	"fmt"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

const (
	ownPrefix    = "TROWEL_REGISTRY_"
	kanikoPrefix = "KANIKO_"
)

// Config says where the variables come from.
type Config struct {
	Environment []string // as os.Environ gives it
}

// Provider answers from variables.
type Provider struct {
	variables map[string]string
}

// New returns a provider that knows the variables there are now.
func New(config Config) *Provider {
	p := &Provider{variables: map[string]string{}}
	for _, variable := range config.Environment {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, ownPrefix) || strings.HasPrefix(name, kanikoPrefix) {
			p.variables[name] = value
		}
	}
	return p
}

// Credential returns what the variables for the request's registry hold.
func (p *Provider) Credential(_ context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	names := []string{ownPrefix + variablePart(request.Registry)}
	for _, domain := range domains(request.Registry) {
		names = append(names, kanikoPrefix+variablePart(domain))
	}
	for _, name := range names {
		user, hasUser := p.variables[name+"_USER"]
		password, hasPassword := p.variables[name+"_PASSWORD"]
		switch {
		case hasUser && hasPassword:
			return sdk.Credential{Kind: sdk.KindBasic, Username: user, Secret: password}, nil
		case hasUser:
			return sdk.Credential{}, fmt.Errorf("read the credential for %q: %s_USER is set without %[2]s_PASSWORD", request.Registry, name)
		case hasPassword:
			return sdk.Credential{}, fmt.Errorf("read the credential for %q: %s_PASSWORD is set without %[2]s_USER", request.Registry, name)
		}
	}
	return sdk.Credential{}, fmt.Errorf("no variable for %q: %w", request.Registry, sdk.ErrNotMine)
}

// domains returns the registry and the domains that it is in, down to those of two labels.
func domains(registry string) []string {
	all := []string{registry}
	for rest := registry; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok || !strings.Contains(parent, ".") {
			return all
		}
		all = append(all, parent)
		rest = parent
	}
}

// variablePart returns a host as it stands in a variable's name.
func variablePart(host string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, host)
}

var _ sdk.CredentialProvider = (*Provider)(nil)
