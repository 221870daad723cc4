package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
)

// Args are values by name, in the order in which the names came up. They are [dockerfile.Variables].
type Args struct {
	names  []string
	values map[string]string
}

// Get is the value of a name.
func (a *Args) Get(name string) (string, bool) {
	v, ok := a.values[name]
	return v, ok
}

// Keys are the names.
func (a *Args) Keys() []string { return a.names }

func (a *Args) set(name, value string) {
	if _, ok := a.values[name]; !ok {
		a.names = append(a.names, name)
	}
	a.values[name] = value
}

func (a *Args) remove(name string) {
	a.names = slices.DeleteFunc(a.names, func(n string) bool { return n == name })
	delete(a.values, name)
}

// Globals are the arguments that FROM sees, and an ARG of their name in a stage.
func Globals(file *dockerfile.File, opt Options) (*Args, error) {
	args, err := globalArgs(file, opt, opt.BuildArgs)
	if err != nil {
		return nil, err
	}
	if _, declared := args.Get(EpochArg); declared && opt.Epoch.Known {
		if args.set(EpochArg, opt.Epoch.Value); opt.Epoch.Value == "" {
			args.remove(EpochArg)
		}
	}
	return args, nil
}

// given are build arguments with the time.
func (e Epoch) given(args map[string]string) map[string]string {
	if _, ok := args[EpochArg]; !ok || !e.Known {
		return args
	}
	args = maps.Clone(args)
	if args[EpochArg] = e.Value; e.Value == "" {
		delete(args, EpochArg)
	}
	return args
}

// globalArgs are the arguments that FROM sees: those of the platform, then those before the first FROM, each of which
// can refer to the ones before it. What is given beats the default.
func globalArgs(file *dockerfile.File, opt Options, given map[string]string) (*Args, error) {
	args := predeclared(file, opt)
	lex := file.Lexer()
	for _, in := range file.Args {
		for _, arg := range in.Command.(*dockerfile.Arg).Args {
			if v, ok := given[arg.Key]; ok {
				args.set(arg.Key, v)
				continue
			}
			if arg.Value == nil {
				continue
			}
			v, err := lex.Word(*arg.Value, args)
			if err != nil {
				return nil, file.Fail(in, *arg.Value, err, "")
			}
			args.set(arg.Key, v)
		}
	}
	return args, nil
}

// predeclared are the arguments of the platform, with those values that are given.
func predeclared(file *dockerfile.File, opt Options) *Args {
	args := &Args{values: map[string]string{}}
	for _, kv := range platformArgs(file, opt) {
		value := kv[1]
		if v, ok := opt.BuildArgs[kv[0]]; ok {
			value = v
		}
		args.set(kv[0], value)
	}
	return args
}

// platformArgs are the arguments that need no declaration in FROM.
func platformArgs(file *dockerfile.File, opt Options) [][2]string {
	target, host := opt.Platform, opt.BuildPlatform
	if host.OS == "" {
		host = target
	}
	stage := opt.Target
	if stage == "" {
		stage = file.Stages[len(file.Stages)-1].Name
	}
	if stage == "" {
		stage = "default"
	}
	return [][2]string{
		{"BUILDPLATFORM", platforms.Format(host)},
		{"BUILDOS", host.OS},
		{"BUILDOSVERSION", host.OSVersion},
		{"BUILDARCH", host.Architecture},
		{"BUILDVARIANT", host.Variant},
		{"TARGETPLATFORM", platforms.FormatAll(target)},
		{"TARGETOS", target.OS},
		{"TARGETOSVERSION", target.OSVersion},
		{"TARGETARCH", target.Architecture},
		{"TARGETVARIANT", target.Variant},
		{"TARGETSTAGE", stage},
	}
}

// predefined are build arguments that mean something without an ARG, beside those of the platform and those that start
// with "BUILDKIT_".
var predefined = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", EpochArg}

// unusedArgs warns of build arguments that no ARG of the file or of a trigger declares. Those of stages that are not built count as
// declared: pipelines give the same arguments whatever target they build.
func (pl *planner) unusedArgs() []dockerfile.Warning {
	declared := map[string]bool{}
	declare := func(list []dockerfile.Instruction) {
		for _, in := range list {
			if c, ok := in.Command.(*dockerfile.Arg); ok {
				for _, arg := range c.Args {
					declared[arg.Key] = true
				}
			}
		}
	}
	declare(pl.file.Args)
	for _, s := range pl.stages {
		declare(s.Triggers)
		declare(s.Source.Instructions)
	}
	var unused []string
	for _, name := range slices.Sorted(maps.Keys(pl.opt.BuildArgs)) {
		if _, global := pl.args.Get(name); global || declared[name] || isPredefined(name) {
			continue
		}
		if match := dockerfile.Nearest(name, slices.Collect(maps.Keys(declared))); match != "" {
			name += " (did you mean " + match + "?)"
		}
		unused = append(unused, name)
	}
	if len(unused) == 0 {
		return nil
	}
	return []dockerfile.Warning{{Text: fmt.Sprintf("One or more build-args %v were not consumed", unused)}}
}

func isPredefined(name string) bool {
	return strings.HasPrefix(name, "BUILDKIT_") || slices.Contains(predefined, strings.ToUpper(name))
}
