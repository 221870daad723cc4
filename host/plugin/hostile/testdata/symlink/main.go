// Program symlink reads and lists what links of the build context lead to, and puts it into the image.
package main

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{Name: "symlink", Instruction: func(context.Context, *sdk.Config) (sdk.InstructionHandler, error) {
		return handler{}, nil
	}})
}

type handler struct{}

// Describe implements [sdk.InstructionHandler].
func (handler) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "FOLLOW", MinArgs: 1, MaxArgs: -1}}, nil
}

// Plan implements [sdk.InstructionHandler].
func (handler) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	var plan sdk.Plan
	for i, name := range call.Args {
		content, err := sdk.ReadFile(ctx, sdk.RootContext, name)
		if err != nil {
			content = []byte(err.Error())
		}
		found := "nothing"
		if err == nil {
			found = "content"
		}
		entries, _ := sdk.ReadDir(ctx, sdk.RootContext, name)
		for _, e := range entries {
			content = append(content, e.Name...)
		}
		plan.Notes = append(plan.Notes, name+" gave "+found+" and "+strconv.Itoa(len(entries))+" entries")
		plan.Effects = append(plan.Effects, sdk.Effect{Write: &sdk.Write{Path: "/seen" + strconv.Itoa(i), Content: content}})
	}
	return plan, nil
}
