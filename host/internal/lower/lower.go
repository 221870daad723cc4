// Package lower turns the instructions of a stage into effects. It is the one place that knows RUN from COPY, and it is
// pure but for the plugins that it asks about instructions of theirs: what an instruction does to the image's configuration
// never depends on running anything.
package lower

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/sdk"
)

// HistoryComment is the comment of all history entries, BuildKit's own: tools tell by it how an entry came about.
const HistoryComment = "buildkit.dockerfile.v0"

// Step is what one instruction comes to.
type Step struct {
	// Name is what a user reads: "[build 2/5] RUN make". Steps that only change the configuration have no number.
	Name        string
	Instruction dockerfile.Instruction
	Source      string // the instruction's lines in the file, or the text of its ONBUILD trigger
	Effects     []effect.Effect
	// Config is the image's configuration after the step. It is shared and must not be changed.
	Config image.Config
	// CreatedBy is the text of the step's history entry; empty means that it has none, which is so for ONBUILD.
	CreatedBy string
	Layer     Layer
	// Custom is what a plugin said, for its instructions.
	Custom *Custom
}

// Custom is a use of an instruction that a plugin gives, and what the plugin answered.
type Custom struct {
	Call sdk.Call
	Plan sdk.Plan
}

// Layer says whether a step makes a layer.
type Layer string

// What a step makes.
const (
	NoLayer  Layer = ""
	OneLayer Layer = "layer" // even if nothing changes in it
)

// Lowered is a stage as steps.
type Lowered struct {
	// BaseName is what to call the work on the base: "[build 1/5] FROM docker.io/library/debian:12". It is empty if
	// the base is a stage or scratch.
	BaseName string
	Steps    []Step
	State    State // after the last step: what a stage based on this one starts from
	Warnings []dockerfile.Warning
	Outline  Outline
}

// State is all that a stage hands on to one that is based on it, but for files. It is immutable.
type State struct {
	Config image.Config
	Author string // of MAINTAINER

	vars       vars
	args       []arg
	workdirSet bool // by a WORKDIR of the file
}

// arg is a declared ARG.
type arg struct{ name, value string }

// From is the state that an image starts a stage with; nil means scratch.
func From(base *image.Base) State {
	s := State{Config: image.Start(base)}
	if base != nil {
		s.Author = base.Image.Author
	}
	return s
}

// Outside is what lowering asks about what is not in the Dockerfile. Its zero value knows of no plugins and no ignore file.
type Outside struct {
	Planner Planner // is asked about the instructions of plugins
	// Ignored says, for a build check, whether the ignore file hides a source of COPY from the main context.
	Ignored func(source string) bool
}

// Stage lowers a stage of a plan. The base is [From] what FROM names, or the [Lowered] state of the stage it names. Errors
// are of type [*dockerfile.Error]; the warnings up to there are returned with one.
func Stage(ctx context.Context, p *plan.Plan, s *plan.Stage, base State, outside Outside) (*Lowered, error) {
	if s.Base.Stage == "" && len(base.Config.OnBuild) > 0 && !s.TriggersKnown() {
		return &Lowered{}, p.File.Fail(s.Source.From, s.Source.BaseName, fmt.Errorf("the base's ONBUILD triggers were not planned"), "")
	}
	l := &lowering{
		out:  &Lowered{Outline: Outline{Args: map[string]Parameter{}}},
		plan: p, stage: s, file: p.File, lex: p.File.Lexer(), ignored: outside.Ignored, workdirSet: base.workdirSet,
		before: map[string]dockerfile.Position{},
		config: base.Config.Clone(), author: base.Author, vars: base.vars.clone(), args: base.args[:len(base.args):len(base.args)],
	}
	if planner := outside.Planner; planner != nil {
		l.ask = func(call sdk.Call, before Before) (sdk.Plan, error) { return planner.Plan(ctx, call, before) }
	}
	l.start()
	out := l.out
	defer func() { out.Warnings = l.warnings }()
	checks := p.File.Checks(func(w dockerfile.Warning) { l.warnings = append(l.warnings, w) })
	if s.Base.Image != "" || s.Base.Context != "" {
		out.BaseName = l.numbered("FROM " + s.Base.Image + s.Base.Context)
	}
	for _, in := range append(s.Triggers[:len(s.Triggers):len(s.Triggers)], s.Instructions...) {
		l.checks = checks.At(in)
		step, err := l.step(in)
		if err != nil {
			return out, err
		}
		out.Steps = append(out.Steps, step)
	}
	out.State = l.state()
	return out, nil
}

// state is what a stage based on this one would start from.
func (l *lowering) state() State {
	return State{Config: l.config, Author: l.author, vars: l.vars.clone(), args: l.args, workdirSet: l.workdirSet}
}

// lowering is a stage while it is lowered.
type lowering struct {
	out *Lowered
	ask func(sdk.Call, Before) (sdk.Plan, error) // the planner; nil if there is none

	plan  *plan.Plan
	stage *plan.Stage
	file  *dockerfile.File
	lex   *dockerfile.Lexer

	config image.Config // what it points to is shared with the steps before: it is replaced, not changed
	author string
	vars   vars  // what words are expanded with, and what RUN sees
	args   []arg // as declared, repetitions included
	index  int   // of the step that was numbered last
	total  int

	warnings []dockerfile.Warning

	in dockerfile.Instruction // the one at hand

	// What build checks go by.
	checks     *dockerfile.Checks // for the instruction at hand
	ignored    func(source string) bool
	before     map[string]dockerfile.Position // CMD, ENTRYPOINT and HEALTHCHECK so far, by keyword
	workdirSet bool
}

// step lowers one instruction.
func (l *lowering) step(in dockerfile.Instruction) (Step, error) {
	l.in = in
	step := Step{Instruction: in, Source: in.Trigger}
	if in.Trigger == "" {
		step.Source = l.file.Source(in.Position)
	}
	step.Name = l.title(in.Text())
	if err := l.dispatch(in, &step); err != nil {
		if _, located := errors.AsType[*dockerfile.Error](err); located {
			return Step{}, err
		}
		return Step{}, l.file.Fail(in, "", err, "")
	}
	step.Config = l.config
	return step, nil
}

func (l *lowering) dispatch(in dockerfile.Instruction, step *Step) error {
	switch c := in.Command.(type) {
	case *dockerfile.Run:
		return l.run(c, step)
	case *dockerfile.Copy:
		return l.copy(c, step)
	case *dockerfile.Add:
		return l.add(c, step)
	case *dockerfile.Arg:
		return l.arg(c, step)
	case *dockerfile.Workdir:
		return l.workdir(c, step)
	case *dockerfile.Env:
		return l.env(c, step)
	case *dockerfile.Label:
		return l.label(c, step)
	case *dockerfile.Maintainer:
		return l.maintainer(c, step)
	case *dockerfile.Cmd:
		return l.cmd(c, step)
	case *dockerfile.Entrypoint:
		return l.entrypoint(c, step)
	case *dockerfile.Shell:
		return l.shell(c, step)
	case *dockerfile.User:
		return l.user(c, step)
	case *dockerfile.Expose:
		return l.expose(c, step)
	case *dockerfile.Volume:
		return l.volume(c, step)
	case *dockerfile.StopSignal:
		return l.stopSignal(c, step)
	case *dockerfile.Healthcheck:
		return l.healthcheck(c, step)
	case *dockerfile.Onbuild:
		return l.onbuild(c, step)
	case *dockerfile.Custom:
		return l.custom(c, step)
	}
	return fmt.Errorf("%s is not supported", in.Keyword)
}

// word expands a word of the instruction at hand.
func (l *lowering) word(word string) (string, error) {
	x, err := l.lex.Expand(word, &l.vars)
	l.checkVariables(x)
	if err != nil {
		return "", l.fail(word, err, "")
	}
	return x.Value, nil
}

// words expands each of some words.
func (l *lowering) words(words []string) ([]string, error) {
	out := make([]string, len(words))
	for i, w := range words {
		var err error
		if out[i], err = l.word(w); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fail is an error at a word of the instruction at hand.
func (l *lowering) fail(word string, err error, hint string) error {
	return l.file.Fail(l.in, word, err, hint)
}

// set is the effect of giving a part of the configuration a value.
func set(field string, value any) effect.Set {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("lower: %s of an image config has no JSON form: %v", field, err))
	}
	return effect.Set{Field: field, Value: string(text)}
}
