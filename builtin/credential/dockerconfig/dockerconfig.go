// Package dockerconfig takes registry credentials from the configuration files of Docker and Podman.
//
// All of these count, the earlier ones first: the JSON in DOCKER_AUTH_CONFIG, the file that REGISTRY_AUTH_FILE names,
// config.json in the directory that DOCKER_CONFIG names, ~/.docker/config.json, and containers/auth.json in
// XDG_RUNTIME_DIR, or else Podman's own file for the user, and in XDG_CONFIG_HOME or else ~/.config. They are merged entry by
// entry: a registry that one of them does not name is looked for in the next.
// Where entries are for a path in a registry ("registry.example.com/team"), the longest that fits decides.
//
// The files are read when a credential is asked for, and again each time, so that a file which is replaced during a
// build takes effect. Credential helpers that they name run only for the registry that needs them.
package dockerconfig

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/trowel-build/trowel/builtin/credential/helper"
	"github.com/trowel-build/trowel/sdk"
)

// Config says where configuration files are sought.
type Config struct {
	Environment   []string      // as os.Environ gives it; credential helpers run in it
	Home          string        // the user's home directory; empty: none
	Podman        string        // Podman's file where XDG_RUNTIME_DIR is not set, /run/containers/UID/auth.json; empty: none
	HelperTimeout time.Duration // of a credential helper; 0 means 60 s
}

// Provider answers from configuration files.
type Provider struct {
	config    Config
	variables map[string]string
}

// New returns a provider. It reads nothing yet.
func New(config Config) *Provider {
	p := &Provider{config: config, variables: map[string]string{}}
	for _, variable := range config.Environment {
		name, value, _ := strings.Cut(variable, "=")
		p.variables[name] = value
	}
	return p
}

// Credential returns the credential of the entry that fits best: first the longest path, then the earliest file. The
// files' credential stores, which hold what no file names, are asked last.
func (p *Provider) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	files, err := p.load()
	if err != nil {
		return sdk.Credential{}, err
	}
	scope := sdk.ScopeRegistry
	for _, file := range files {
		if file.hasPathsOf(request.Registry) {
			scope = sdk.ScopeRepository
		}
	}
	credential, err := p.find(ctx, files, request)
	credential.Scope = scope
	return credential, err
}

func (p *Provider) find(ctx context.Context, files []file, request sdk.CredentialRequest) (sdk.Credential, error) {
	for _, key := range keysFor(request) {
		for _, file := range files {
			credential, err := p.lookUp(ctx, file, key)
			if !errors.Is(err, sdk.ErrNotMine) {
				return credential, err
			}
		}
	}
	for _, file := range files {
		if file.store == "" {
			continue
		}
		credential, err := p.askHelper(ctx, file, file.store, serverName(request.Registry))
		if !errors.Is(err, sdk.ErrNotMine) {
			return credential, err
		}
	}
	return sdk.Credential{}, fmt.Errorf("no entry for %q: %w", request.Registry, sdk.ErrNotMine)
}

// lookUp returns what one file has under a key.
func (p *Provider) lookUp(ctx context.Context, file file, key string) (sdk.Credential, error) {
	if named, ok := file.helpers[key]; ok {
		credential, err := p.askHelper(ctx, file, named.value, named.written)
		if !errors.Is(err, sdk.ErrNotMine) {
			return credential, err
		}
	}
	held, ok := file.auths[key]
	if !ok {
		return sdk.Credential{}, sdk.ErrNotMine
	}
	if held.value == (auth{}) && file.store != "" {
		// Docker leaves an empty entry for what it put into the store.
		return p.askHelper(ctx, file, file.store, held.written)
	}
	return held.value.credential(file.name, held.written)
}

func (p *Provider) askHelper(ctx context.Context, file file, name, server string) (sdk.Credential, error) {
	h, err := helper.New(helper.Config{Name: name, Environment: p.config.Environment, Timeout: p.config.HelperTimeout})
	if err != nil {
		return sdk.Credential{}, fmt.Errorf("read %s: %w", file.name, err)
	}
	credential, err := h.Get(ctx, server)
	if err != nil && !errors.Is(err, sdk.ErrNotMine) {
		return sdk.Credential{}, fmt.Errorf("ask the helper that %s names: %w", file.name, err)
	}
	return credential, err
}

// auth is an entry's value.
type auth struct {
	Auth          string `json:"auth,omitempty"`
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// credential returns what the entry holds; an empty one holds nothing.
func (a auth) credential(file, key string) (sdk.Credential, error) {
	switch {
	case a.RegistryToken != "":
		return sdk.Credential{Kind: sdk.KindBearer, Secret: a.RegistryToken}, nil
	case a.IdentityToken != "":
		return sdk.Credential{Kind: sdk.KindIdentity, Secret: a.IdentityToken}, nil
	case a.Auth != "":
		pair, err := base64.StdEncoding.DecodeString(a.Auth)
		if err != nil {
			pair, err = base64.RawStdEncoding.DecodeString(a.Auth)
		}
		user, password, ok := strings.Cut(strings.TrimRight(string(pair), "\x00\r\n"), ":")
		if err != nil || !ok {
			return sdk.Credential{}, fmt.Errorf("read %s: auth of %q is not the base64 of USER:PASSWORD", file, key)
		}
		return sdk.Credential{Kind: sdk.KindBasic, Username: user, Secret: password}, nil
	case a.Username != "":
		return sdk.Credential{Kind: sdk.KindBasic, Username: a.Username, Secret: a.Password}, nil
	}
	return sdk.Credential{}, sdk.ErrNotMine
}

var _ sdk.CredentialProvider = (*Provider)(nil)
