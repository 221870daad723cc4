// Program escapes says things that a terminal obeys, wherever a plugin has a word.
package main

import (
	"context"
	"os"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{Name: "escapes", Instruction: func(context.Context, *sdk.Config) (sdk.InstructionHandler, error) {
		return handler{}, nil
	}})
}

// trick clears the screen, sets the title, goes back to the start of the line, turns the direction of writing, and rings.
const trick = "\x1b[2J\x1b]0;owned\x07\r\u202eTRICK\u2066\u009b31m\x08\x7f"

type handler struct{}

// Describe implements [sdk.InstructionHandler].
func (handler) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "ESCAPE", Summary: "escapes " + trick, Usage: "WHERE" + trick + "\nhint: lies\n::error::lies", MinArgs: 1}}, nil
}

// Plan implements [sdk.InstructionHandler].
func (handler) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	sdk.Log(ctx, sdk.LevelWarning, "log "+trick+"\nhint: lies\n::error::lies")
	os.Stdout.WriteString("print " + trick + "\n")
	switch call.Args[0] {
	case "error":
		return sdk.Plan{}, &sdk.Error{Code: sdk.CodeInvalid, Message: "message " + trick + "\nhint: lies\n::error::lies", Detail: "detail " + trick}
	case "panic":
		panic("panic " + trick + "\nhint: lies\n::error::lies")
	case "exec":
		return sdk.Plan{Effects: []sdk.Effect{{Exec: &sdk.Exec{Args: []string{"/none" + trick}}}}}, nil
	case "path":
		return sdk.Plan{Effects: []sdk.Effect{{Write: &sdk.Write{Path: "/a\x00" + trick, Content: []byte("x")}}}}, nil
	}
	return sdk.Plan{
		Notes: []string{"note " + trick + "\nhint: lies\n::error::lies"},
		Effects: []sdk.Effect{
			{Write: &sdk.Write{Path: "/written" + trick, Content: []byte("x")}},
			{Set: &sdk.Set{Field: "label", Values: []string{"label=" + trick}}},
		},
	}, nil
}
