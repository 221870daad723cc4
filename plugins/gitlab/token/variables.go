package token

import (
	"context"
	"sync"

	"github.com/trowel-build/trowel/sdk"
)

// The variables of a GitLab job that are read, all of which the user grants.
const (
	varRegistry    = "CI_REGISTRY"
	varUser        = "CI_REGISTRY_USER"
	varProject     = "CI_PROJECT_PATH"
	varDeployUser  = "CI_DEPLOY_USER"
	varProxyServer = "CI_DEPENDENCY_PROXY_SERVER"
	varProxyUser   = "CI_DEPENDENCY_PROXY_USER"
)

// variable is a variable of the job's environment.
type variable struct {
	name    string
	value   string
	granted bool
}

// variables are those that were read: a job's do not change.
type variables struct {
	mu   sync.Mutex
	read map[string]variable
}

// look reads a variable. One that was not granted counts as not set, so that a user need grant no more than is used.
func (v *variables) look(ctx context.Context, name string) (variable, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if known, ok := v.read[name]; ok {
		return known, nil
	}
	value, err := sdk.Env(ctx, name)
	if err != nil && sdk.AsError(err).Code != sdk.CodeDenied {
		return variable{}, err
	}
	v.read[name] = variable{name: name, value: value, granted: err == nil}
	return v.read[name], nil
}

// cure says how the variable comes to be known.
func (v variable) cure() string {
	if v.granted {
		return v.name + " is not set"
	}
	return v.name + " is not granted: add it to env in the plugin's table allow"
}
