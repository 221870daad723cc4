// Hello is the smallest plugin there is.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() { plugin.Main(sdk.Plugin{Name: "hello", Version: "1", Instruction: newHello}) }

type hello struct{}

func newHello(_ context.Context, config *sdk.Config) (sdk.InstructionHandler, error) {
	return hello{}, config.Err()
}

func (hello) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "HELLO", MinArgs: 1}}, nil
}

func (hello) Plan(_ context.Context, call sdk.Call) (sdk.Plan, error) {
	return sdk.Plan{Effects: []sdk.Effect{{Write: &sdk.Write{Path: "/hello", Content: []byte("hello " + call.Args[0] + "\n")}}}}, nil
}
