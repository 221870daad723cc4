package main

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/google/go-jsonnet"

	"github.com/trowel-build/trowel/sdk"
)

// handler evaluates templates.
type handler struct {
	libraries []string // searched by all templates, after those of -J
	maxStack  int
}

func newHandler(config *sdk.Config) (*handler, error) {
	h := &handler{libraries: config.Strings("library-paths"), maxStack: int(config.Int("max-stack", 500))}
	if h.maxStack < 1 {
		return nil, invalid("config: max-stack must be at least 1")
	}
	return h, config.Err()
}

// Describe is [sdk.InstructionHandler]'s.
func (h *handler) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{
		Keyword: "JSONNET",
		Summary: "Evaluate a Jsonnet template of the build context and write the result into the image.",
		Usage:   "TEMPLATE DEST",
		MinArgs: 2,
		Flags: []sdk.Flag{
			{Name: "ext-str", Summary: "an external variable, NAME=VALUE, or NAME alone for the variable of the environment", Type: sdk.FlagList},
			{Name: "ext-code", Summary: "an external variable whose value is Jsonnet", Type: sdk.FlagList},
			{Name: "tla-str", Summary: "a top-level argument, NAME=VALUE", Type: sdk.FlagList},
			{Name: "tla-code", Summary: "a top-level argument whose value is Jsonnet", Type: sdk.FlagList},
			{Name: "J", Summary: "a directory of the context that imports are looked for in", Type: sdk.FlagList},
			{Name: "string", Summary: "the result is a string, and is written as it is", Type: sdk.FlagBool},
			{Name: "multi", Summary: "the result is an object of files, written below DEST", Type: sdk.FlagBool},
			{Name: "chmod", Summary: "the mode of what is written, octal"},
			{Name: "chown", Summary: "the owner of what is written"},
		},
	}}, nil
}

// Plan is [sdk.InstructionHandler]'s.
func (h *handler) Plan(ctx context.Context, call sdk.Call) (sdk.Plan, error) {
	read := func(name string) ([]byte, error) { return sdk.ReadFile(ctx, sdk.RootContext, name) }
	vm := jsonnet.MakeVM()
	vm.MaxStack = h.maxStack
	vm.SetTraceOut(traceLog(func(text string) { sdk.Log(ctx, sdk.LevelInfo, text) }))
	vm.StringOutput = call.Flag("string") == "true"
	vm.Importer(&importer{readFile: read, libraries: append(call.FlagList("J"), h.libraries...), seen: map[string]found{}})
	if err := setVariables(vm, call); err != nil {
		return sdk.Plan{}, err
	}
	template, dest := path.Clean(call.Args[0]), call.Args[1]
	if call.Flag("multi") == "true" {
		files, err := vm.EvaluateFileMulti(template)
		if err != nil {
			return sdk.Plan{}, failed(err)
		}
		return writeAll(call, dest, files)
	}
	text, err := vm.EvaluateFile(template)
	if err != nil {
		return sdk.Plan{}, failed(err)
	}
	if strings.HasSuffix(dest, "/") {
		dest += strings.TrimSuffix(path.Base(template), path.Ext(template)) + ".json"
	}
	return sdk.Plan{Effects: []sdk.Effect{write(call, dest, text)}}, nil
}

// setVariables gives the template its variables and arguments.
func setVariables(vm *jsonnet.VM, call sdk.Call) error {
	for _, f := range call.Flags {
		var set func(name, value string)
		switch f.Name {
		case "ext-str":
			set = vm.ExtVar
		case "ext-code":
			set = vm.ExtCode
		case "tla-str":
			set = vm.TLAVar
		case "tla-code":
			set = vm.TLACode
		default:
			continue
		}
		name, value, ok := strings.Cut(f.Value, "=")
		if !ok {
			if value, ok = environment(call.Env, name); !ok {
				return invalid("--" + f.Name + " " + name + ": write NAME=VALUE, or set the variable with ENV or ARG")
			}
		}
		set(name, value)
	}
	return nil
}

func environment(env []string, name string) (string, bool) {
	for _, kv := range env {
		if n, value, _ := strings.Cut(kv, "="); n == name {
			return value, true
		}
	}
	return "", false
}

// writeAll writes the files of a result, sorted: a map has no order.
func writeAll(call sdk.Call, dest string, files map[string]string) (sdk.Plan, error) {
	var plan sdk.Plan
	for _, name := range sortedKeys(files) {
		clean := path.Clean("/" + name)[1:]
		if clean == "" || clean != name {
			return sdk.Plan{}, invalid("the result has a file named " + name + ": names are paths below DEST")
		}
		plan.Effects = append(plan.Effects, write(call, path.Join(dest, clean), files[name]))
	}
	return plan, nil
}

func write(call sdk.Call, dest, text string) sdk.Effect {
	return sdk.Effect{Write: &sdk.Write{Path: dest, Content: []byte(text), Mode: call.Flag("chmod"), Owner: call.Flag("chown")}}
}

// failed is an error of the evaluation as the user shall see it: without the words around it.
func failed(err error) error {
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e
	}
	text := strings.TrimSpace(err.Error())
	text = strings.TrimPrefix(text, "RUNTIME ERROR: ")
	return invalid(text)
}

func invalid(text string) error { return &sdk.Error{Code: sdk.CodeInvalid, Message: text} }

// traceLog shows what std.trace says.
type traceLog func(text string)

// Write is [io.Writer]'s.
func (t traceLog) Write(p []byte) (int, error) {
	t(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
