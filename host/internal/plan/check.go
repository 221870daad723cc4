package plan

import (
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
)

// Check runs the build checks of what FROM says, up to the first error, which [New] returns.
func Check(file *dockerfile.File, opt Options) (found []dockerfile.Warning) {
	checks := file.Checks(func(w dockerfile.Warning) { found = append(found, w) })
	checkDefaults(file, opt, checks)
	args, err := Globals(file, opt)
	if err != nil {
		return found
	}
	declared := slices.Clone(args.Keys())
	for _, in := range file.Args {
		for _, arg := range in.Command.(*dockerfile.Arg).Args {
			declared = append(declared, arg.Key)
		}
	}
	slices.Sort(declared)
	lex := file.Lexer()
	for _, s := range file.Stages {
		at := checks.At(s.From)
		name, err := lex.Expand(s.BaseName, args)
		at.UndefinedArgInFrom(name.Unset, declared)
		if err != nil || name.Value == "" {
			return found
		}
		if s.Platform == "" {
			continue
		}
		p, err := lex.Expand(s.Platform, args)
		at.UndefinedArgInFrom(p.Unset, declared)
		if err != nil {
			return found
		}
		target, _ := args.Get("TARGETPLATFORM")
		checkPlatform(at, s, p, target)
	}
	return found
}

// checkPlatform checks a --platform of FROM.
func checkPlatform(at *dockerfile.Checks, s *dockerfile.Stage, written dockerfile.Expansion, target string) {
	if slices.Equal(written.Used, []string{"TARGETPLATFORM"}) && len(written.Unset) == 0 && written.Value == target {
		at.RedundantTargetPlatform(s.Platform)
	}
	if len(written.Used) > 0 || len(written.Unset) > 0 {
		return
	}
	// A stage that is named after its platform is meant for it.
	p, err := platforms.Parse(written.Value)
	if err == nil && !strings.Contains(s.Name, p.OS) && !strings.Contains(s.Name, p.Architecture) {
		at.FromPlatformFlagConstDisallowed(written.Value)
	}
}

// checkDefaults finds bases that are no image unless somebody gives a build argument.
func checkDefaults(file *dockerfile.File, opt Options, checks *dockerfile.Checks) {
	args, err := globalArgs(file, opt, nil)
	if err != nil {
		return
	}
	lex := file.Lexer()
	for _, s := range file.Stages {
		name, err := lex.Word(s.BaseName, args)
		if err != nil {
			return
		}
		if _, err := reference.ParseNormalizedNamed(name); err != nil {
			checks.InvalidDefaultArgInFrom(s.From.Position, s.BaseName)
		}
	}
}
