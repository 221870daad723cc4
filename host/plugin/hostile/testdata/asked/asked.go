// Package asked makes a credential plugin of one function: the repository that the host asks about is the question, and the
// user name of the credential is the answer.
package asked

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

// Func answers a question.
type Func func(ctx context.Context, question string) (string, error)

// Main serves f.
func Main(name string, f Func) {
	plugin.Main(sdk.Plugin{Name: name, Credential: func(context.Context, *sdk.Config) (sdk.CredentialProvider, error) { return f, nil }})
}

// Credential implements [sdk.CredentialProvider].
func (f Func) Credential(ctx context.Context, q sdk.CredentialRequest) (sdk.Credential, error) {
	answer, err := f(ctx, q.Repository)
	return sdk.Credential{Kind: sdk.KindBasic, Username: answer, Secret: "none"}, err
}
