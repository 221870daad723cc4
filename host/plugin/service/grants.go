package service

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// Grants are what a user lets a plugin reach: the table [plugins.NAME.allow]. What is not here, a plugin cannot have.
type Grants struct {
	// Hosts are the places that HTTP requests may go to: "minio.example.com:9000", "*.example.com". They are reached by
	// HTTPS, at port 443 unless one is given; "http://HOST:PORT" allows plain HTTP. A loopback, link-local or private
	// address is reached only where an address or a range like "10.0.0.0/8" names it, or the host is named as that address
	// or as "localhost". A range names no host: it says what addresses the names beside it may have.
	Hosts []string `toml:"hosts"`
	// Env are the names of environment variables that may be read.
	Env []string `toml:"env"`
	// Secrets may be used, never seen.
	Secrets map[string]Secret `toml:"secrets"`
	// Files are the trees that an instruction plugin may read, "context" and "stage"; absent means both.
	Files *[]string `toml:"files"`
}

// Secret is a secret and what it may be used for.
type Secret struct {
	SecretSource
	// Use is "sign-aws4", "hmac-sha256", "header" or "reply".
	Use string `toml:"use"`
	// Hosts are those that the secret may be sent to or signed for; empty means all granted ones, and with "reply" all
	// registries that the plugin is asked about.
	Hosts []string `toml:"hosts"`
}

// SecretSource says where the host finds a secret: exactly one field is set.
type SecretSource struct {
	Env  string `toml:"env"`
	File string `toml:"file"`
}

// The uses of secrets.
const (
	UseAWS4   = string(sdk.SignAWS4) // signs requests
	UseHMAC   = string(sdk.SignHMAC) // authenticates data
	UseHeader = "header"             // stands in a header of a request
	UseReply  = "reply"              // stands in a credential that a plugin answers with
)

func uses() []string { return []string{UseAWS4, UseHMAC, UseHeader, UseReply} }

func filesRoots() []string { return []string{string(sdk.RootContext), string(sdk.RootStage)} }

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isSecretName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, letters+"0123456789_-") == ""
}

func isVariable(s string) bool {
	return s != "" && len(s) <= 128 && strings.Trim(s, letters+"0123456789_") == "" && (s[0] < '0' || s[0] > '9')
}

// Validate says what is wrong with the grants of a plugin of that kind, all of it.
func (g Grants) Validate(kind sdk.Kind) error {
	var problems []error
	for _, h := range g.Hosts {
		if _, err := parsePattern(h); err != nil {
			problems = append(problems, fmt.Errorf("allow.hosts: %w", err))
		}
	}
	for _, name := range g.Env {
		if !isVariable(name) {
			problems = append(problems, fmt.Errorf("allow.env: %q is no name of an environment variable", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Secrets)) {
		if err := g.validateSecret(kind, name, g.Secrets[name]); err != nil {
			problems = append(problems, fmt.Errorf("allow.secrets.%s: %w", name, err))
		}
	}
	if g.Files != nil {
		problems = append(problems, validateFiles(kind, *g.Files))
	}
	return errors.Join(problems...)
}

func (g Grants) validateSecret(kind sdk.Kind, name string, secret Secret) error {
	if !isSecretName(name) {
		return errors.New("the name must be of letters, digits, dash and underscore, at most 64 of them")
	}
	if err := secret.SecretSource.Validate(); err != nil {
		return err
	}
	if secret.Env != "" && slices.Contains(g.Env, secret.Env) {
		return fmt.Errorf("allow.env has %q as well, which would show the secret to the plugin: remove it there", secret.Env)
	}
	switch {
	case !slices.Contains(uses(), secret.Use):
		return fmt.Errorf("use is %q, and must be one of %s", secret.Use, strings.Join(uses(), ", "))
	case secret.Use == UseReply && kind != sdk.KindCredential:
		return fmt.Errorf(`use is "reply", which only plugins of the kind %q have`, sdk.KindCredential)
	case secret.Use == UseHMAC && len(secret.Hosts) > 0:
		return fmt.Errorf("hosts is set, and has no meaning with the use %q: what is signed goes to no host", UseHMAC)
	}
	for _, h := range secret.Hosts {
		p, err := parsePattern(h)
		if err != nil {
			return fmt.Errorf("hosts: %w", err)
		}
		if p.prefix.IsValid() {
			return fmt.Errorf("hosts: %q is a range of addresses, which names no host", h)
		}
	}
	return nil
}

// Validate says what is wrong with the source, if anything.
func (s SecretSource) Validate() error {
	switch {
	case s.Env == "" && s.File == "":
		return errors.New("neither env nor file is set: name the environment variable or the file that has the secret")
	case s.Env != "" && s.File != "":
		return errors.New("env and file are both set: remove one")
	case s.Env != "" && !isVariable(s.Env):
		return fmt.Errorf("env is %q, which is no name of an environment variable", s.Env)
	}
	return nil
}

func validateFiles(kind sdk.Kind, files []string) error {
	if kind != sdk.KindInstruction && len(files) > 0 {
		return fmt.Errorf("allow.files: only plugins of the kind %q read files", sdk.KindInstruction)
	}
	for _, f := range files {
		if !slices.Contains(filesRoots(), f) {
			return fmt.Errorf("allow.files: %q is not one of %s", f, strings.Join(filesRoots(), ", "))
		}
	}
	return nil
}

// reads says whether the files under root may be read.
func (g Grants) reads(root sdk.Root) bool {
	return g.Files == nil || slices.Contains(*g.Files, string(root))
}
