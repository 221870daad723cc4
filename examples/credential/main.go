// Command credential is a plugin for Trowel: a credential provider. The README runs it, in a sandbox and as a process.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{Name: "credential", Version: "1.0.0", Credential: func(_ context.Context, config *sdk.Config) (sdk.CredentialProvider, error) {
		return provider{registry: config.Required("registry")}, config.Err()
	}})
}

type provider struct{ registry string }

// Credential answers for one registry. The user's name comes from the environment; the password never comes here at all:
// Trowel puts it where its name stands.
func (p provider) Credential(ctx context.Context, request sdk.CredentialRequest) (sdk.Credential, error) {
	if request.Registry != p.registry {
		return sdk.Credential{}, sdk.ErrNotMine
	}
	user, err := sdk.Env(ctx, "DEPLOY_USER")
	if err != nil {
		return sdk.Credential{}, err
	}
	if user == "" {
		return sdk.Credential{}, &sdk.Error{Code: sdk.CodeInvalid, Message: "DEPLOY_USER is not set"}
	}
	return sdk.Credential{Kind: sdk.KindBasic, Username: user, Secret: "{{secret:password}}"}, nil
}
