package main

import (
	"os"

	"github.com/trowel-build/trowel/builtin/credential/dockerconfig"
	"github.com/trowel-build/trowel/builtin/credential/env"
	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/sdk"
)

// credentials are the built-in providers in the order in which they are asked. Nothing is read before a registry demands
// a credential.
func (p program) credentials() []sdk.CredentialProvider {
	environment := os.Environ()
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	return []sdk.CredentialProvider{
		env.New(env.Config{Environment: environment}),
		dockerconfig.New(dockerconfig.Config{Environment: environment, Home: home, Podman: host.PodmanLogin()}),
	}
}
