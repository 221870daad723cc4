// Command steps is the plugin of the scenarios: its instruction STEPS does what the lines of its heredoc say.
package main

import (
	"context"
	"strings"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{
		Name: "steps", Version: "1",
		Instruction: func(_ context.Context, c *sdk.Config) (sdk.InstructionHandler, error) {
			s := steps{greeting: c.String("greeting", "hello")}
			return s, c.Err()
		},
	})
}

type steps struct{ greeting string }

func (steps) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{
		Keyword: "STEPS", Usage: "<<EOF", MaxArgs: -1, Heredocs: true,
		Flags: []sdk.Flag{{Name: "from"}, {Name: "loud", Type: sdk.FlagBool}, {Name: "n", Type: sdk.FlagNumber}},
	}}, nil
}

func (s steps) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	sdk.Log(ctx, sdk.LevelInfo, s.greeting+" from "+call.Keyword)
	plan := sdk.Plan{Notes: []string{"args " + strings.Join(call.Args, ",") + " loud=" + call.Flag("loud")}}
	for _, h := range call.Heredocs {
		for line := range strings.Lines(h.Content) {
			e, err := step(ctx, call, words(line))
			if err != nil {
				return plan, err
			}
			plan.Effects = append(plan.Effects, e...)
		}
	}
	return plan, nil
}

// words are those of a line, in which %n stands for a line break and %s for a blank.
func words(line string) []string {
	out := strings.Fields(line)
	for i, w := range out {
		out[i] = strings.ReplaceAll(strings.ReplaceAll(w, "%n", "\n"), "%s", " ")
	}
	return out
}

func step(ctx context.Context, call sdk.Call, w []string) ([]sdk.Effect, error) {
	if len(w) < 2 {
		return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: "a line is a verb and its words"}
	}
	rest := strings.Join(w[2:], " ")
	one := func(e sdk.Effect) ([]sdk.Effect, error) { return []sdk.Effect{e}, nil }
	switch w[0] {
	case "write":
		return one(sdk.Effect{Write: &sdk.Write{Path: w[1], Content: []byte(rest + "\n")}})
	case "mkdir": // mkdir PATH [MODE [OWNER]]
		w = append(w, "", "")
		return one(sdk.Effect{Mkdir: &sdk.Mkdir{Path: w[1], Mode: w[2], Owner: w[3]}})
	case "own": // own PATH OWNER: a file
		return one(sdk.Effect{Write: &sdk.Write{Path: w[1], Owner: rest, Content: []byte("owned")}})
	case "exclude": // exclude PATTERN SOURCE DEST
		return one(sdk.Effect{Copy: &sdk.Copy{Sources: w[2:3], Dest: w[3], Exclude: w[1:2]}})
	case "fail":
		return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: rest}
	case "symlink":
		return one(sdk.Effect{Symlink: &sdk.Symlink{Path: w[1], Target: rest}})
	case "remove":
		return one(sdk.Effect{Remove: &sdk.Remove{Path: w[1]}})
	case "sh":
		return one(sdk.Effect{Exec: &sdk.Exec{Args: append(call.Shell, strings.Join(w[1:], " ")), Env: []string{"PLUGIN=steps"}}})
	case "copy":
		return one(sdk.Effect{Copy: &sdk.Copy{From: call.Flag("from"), Sources: []string{w[1]}, Dest: rest}})
	case "set":
		return one(sdk.Effect{Set: &sdk.Set{Field: w[1], Values: w[2:]}})
	case "include": // include context|stage FILE DEST: what the file holds
		text, err := sdk.ReadFile(ctx, sdk.Root(w[1]), w[2])
		if err != nil {
			text = []byte("none: " + err.Error() + "\n")
		}
		return one(sdk.Effect{Write: &sdk.Write{Path: w[3], Content: text}})
	case "list":
		infos, err := sdk.ReadDir(ctx, sdk.Root(w[1]), w[2])
		if err != nil {
			return nil, err
		}
		var names []string
		for _, i := range infos {
			names = append(names, i.Name)
		}
		return one(sdk.Effect{Write: &sdk.Write{Path: w[3], Content: []byte(strings.Join(names, " ") + "\n")}})
	}
	return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: "unknown verb " + w[0]}
}
