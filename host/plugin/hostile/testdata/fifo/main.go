// Program fifo has the host do what never ends: read a FIFO of the build context, ask a server that does not answer.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{
		Name:        "fifo",
		Instruction: func(context.Context, *sdk.Config) (sdk.InstructionHandler, error) { return reader{}, nil },
		Credential:  func(context.Context, *sdk.Config) (sdk.CredentialProvider, error) { return caller{}, nil },
	})
}

type reader struct{}

// Describe implements [sdk.InstructionHandler].
func (reader) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "FIFO", MinArgs: 1}}, nil
}

// Plan implements [sdk.InstructionHandler].
func (reader) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	content, err := sdk.ReadFile(ctx, sdk.RootContext, call.Args[0])
	if err != nil {
		return sdk.Plan{}, err
	}
	return sdk.Plan{Effects: []sdk.Effect{{Write: &sdk.Write{Path: "/fifo", Content: content}}}}, nil
}

type caller struct{}

// Credential implements [sdk.CredentialProvider].
func (caller) Credential(ctx context.Context, q sdk.CredentialRequest) (sdk.Credential, error) {
	answers, err := sdk.HTTP(ctx, sdk.HTTPRequest{Method: "GET", URL: q.Repository})
	if err == nil && answers[0].Error != nil {
		err = answers[0].Error
	}
	return sdk.Credential{Kind: sdk.KindBasic, Username: "answered", Secret: "none"}, err
}
