// Command greeting is a plugin for Trowel: the Dockerfile instruction GREETING. The README runs it.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{Name: "greeting", Version: "1.0.0", Instruction: func(_ context.Context, config *sdk.Config) (sdk.InstructionHandler, error) {
		return handler{}, config.Err()
	}})
}

type handler struct{}

// Describe says what instructions there are.
func (handler) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "GREETING", Summary: "write a greeting", Usage: "NAME PATH", MinArgs: 2}}, nil
}

// Plan says what one use of an instruction does: Trowel does it.
func (handler) Plan(_ context.Context, call sdk.Call) (sdk.Plan, error) {
	if len(call.Args) != 2 || call.Args[0] == "" {
		return sdk.Plan{}, &sdk.Error{Code: sdk.CodeInvalid, Message: "there is nobody to greet"}
	}
	text, path := "Hello, "+call.Args[0], call.Args[1]
	return sdk.Plan{Effects: []sdk.Effect{
		{Write: &sdk.Write{Path: path, Content: []byte(text + "\n")}},
		{Set: &sdk.Set{Field: "label", Values: []string{"greeting=" + text}}},
	}}, nil
}
