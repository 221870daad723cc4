// Package plan decides what a build consists of: which stages the target reaches, what each FROM and each COPY --from
// stands for, and what images that takes. It is pure: nothing is read, asked or run.
package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
)

// Scratch is the name of the base that has no files.
const Scratch = "scratch"

// Options are what the user says of a build.
type Options struct {
	// Target is the name of the stage to build, in any letter case; empty means the last.
	Target string
	// Also are the names of stages that are planned as well, whether the target needs them or not.
	Also []string
	// BuildArgs are those of --build-arg.
	BuildArgs map[string]string
	// Platform is what the image is for. BuildPlatform is that of this machine; empty means that it is the same.
	Platform      ocispec.Platform
	BuildPlatform ocispec.Platform
	// Contexts are the names given by --build-context. Each overrides the stage or the image of that name.
	Contexts []string
	// Scope tells this plan's stages from those of plans for other platforms in one build; empty means that there are none.
	Scope string
	// Stages says which are planned.
	Stages Extent
	// Epoch is what SOURCE_DATE_EPOCH came to.
	Epoch Epoch
}

// EpochArg is the argument that dates an image: a number of seconds, or what they are the time of.
const EpochArg = "SOURCE_DATE_EPOCH"

// Epoch is the time that takes the place of what SOURCE_DATE_EPOCH is given as, or has as its default before the first FROM.
type Epoch struct {
	Known bool
	Value string // in seconds; empty means that it has no value
}

// Extent is how much of a file is planned.
type Extent string

// The extents.
const (
	WhatTargetNeeds Extent = ""
	UpToTarget      Extent = "up to the target" // and the stages before it in the file
	AllStages       Extent = "all"              // ONBUILD triggers are set off in those alone that the target needs
)

// Plan is what a build consists of. It is immutable.
type Plan struct {
	File *dockerfile.File
	// Stages are those the target is made from and those asked for beside, each after the ones it needs.
	Stages []*Stage
	// Also are those of Stages that are to be built for their own sake.
	Also []*Stage
	// Images are those that Stages need, each once for each platform.
	Images []Image
	// Args are the global arguments: those before the first FROM and those of the platform.
	Args *Args
	// BuildArgs are those of [Options], with its Epoch.
	BuildArgs map[string]string
	Platform  ocispec.Platform
	Scope     string // that of [Options]
	Warnings  []dockerfile.Warning

	opt      Options
	target   *Stage
	triggers map[string][]string // by stage ID: the ONBUILD triggers of base images
}

// Stage is a stage as the build needs it.
type Stage struct {
	// Name is the stage's, or "stage-" with its index.
	Name string
	// ID is unique in the build: the name, with [Options.Scope] before it.
	ID string
	// Label is what stands in the brackets of a step's name, "" if there is but one stage.
	Label  string
	Source *dockerfile.Stage
	// Base is what FROM means: a stage, a named context or an image; empty means scratch.
	Base effect.Location
	// Replaced says that a named context took the place of the whole stage: Base is the context, and nothing is run.
	Replaced bool
	// Platform is that of the stage: --platform of FROM, that of the stage it is based on, or the target's.
	Platform ocispec.Platform
	// Triggers are the ONBUILD instructions that FROM sets off; Instructions come after them.
	Triggers     []dockerfile.Instruction
	Instructions []dockerfile.Instruction
	// Sources say what --from of COPY and RUN --mount means, by its text.
	Sources map[string]effect.Location
	// Needs are the IDs of the stages that this one is based on or copies from.
	Needs []string

	triggersKnown bool // the triggers of the base image were told
}

// TriggersKnown reports whether the base image's ONBUILD triggers were given to [Plan.WithTriggers].
func (s *Stage) TriggersKnown() bool { return s.triggersKnown }

// Image is an image that has to be resolved.
type Image struct {
	Ref      string // in full, with a tag or a digest: "docker.io/library/debian:12"
	Platform ocispec.Platform
	// Instruction is where it is needed first.
	Instruction dockerfile.Instruction
	Word        string // as written there
	// Hint is what to say if there is no such image: it may have been meant to be a stage.
	Hint string
}

// New plans the build of a file.
func New(file *dockerfile.File, opt Options) (*Plan, error) {
	return build(file, opt, nil)
}

// WithTriggers plans again, with the ONBUILD triggers that the base images of stages have, by the stage's ID. The new
// plan can have further stages and images, since a trigger may copy from a stage that nothing else uses; the bases of
// those may have triggers in turn. Call it until every stage has its [Stage.TriggersKnown]; what was told before is
// kept. A base without triggers is told as nil.
func (p *Plan) WithTriggers(triggers map[string][]string) (*Plan, error) {
	all := maps.Clone(triggers)
	if all == nil {
		all = map[string][]string{}
	}
	for id, t := range p.triggers {
		if _, ok := all[id]; !ok {
			all[id] = t
		}
	}
	return build(p.File, p.opt, all)
}

// Target is the stage to build: the last one of a plan that was not made by [New].
func (p *Plan) Target() *Stage {
	if p.target == nil {
		return p.Stages[len(p.Stages)-1]
	}
	return p.target
}

// UpTo is the plan of one of the stages, by its place, with those before it.
func (p *Plan) UpTo(at int) *Plan {
	part := *p
	part.Stages, part.Also, part.target = p.Stages[:at+1], nil, p.Stages[at]
	return &part
}

// Stage is the stage of that ID, nil if the plan has none.
func (p *Plan) Stage(id string) *Stage {
	for _, s := range p.Stages {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// planner holds what is known of all stages while a plan is made.
type planner struct {
	file     *dockerfile.File
	opt      Options
	args     *Args
	contexts map[string]string // normal form → as the user wrote it
	stages   []*Stage          // all of the file
	byName   map[string]*Stage
	unnamed  int // sources outside the file that BuildKit counts as stages, which shows in labels
	images   []Image
}

func build(file *dockerfile.File, opt Options, triggers map[string][]string) (*Plan, error) {
	if err := checkBuildArgs(opt.BuildArgs); err != nil {
		return nil, err
	}
	pl := &planner{file: file, opt: opt, byName: map[string]*Stage{}}
	var err error
	if pl.contexts, err = normalContexts(opt.Contexts); err != nil {
		return nil, err
	}
	target, err := pl.find(opt.Target)
	if err != nil {
		return nil, err
	}
	also, err := pl.also(target)
	if err != nil {
		return nil, err
	}
	if pl.args, err = Globals(file, opt); err != nil {
		return nil, err
	}
	for _, source := range file.Stages {
		if err := pl.addStage(source); err != nil {
			return nil, err
		}
	}
	for _, s := range pl.stages {
		if err := pl.addTriggers(s, triggers); err != nil {
			return nil, err
		}
	}
	for _, s := range pl.stages {
		if err := pl.resolveSources(s); err != nil {
			return nil, err
		}
	}
	reached := pl.reach(pl.stages[target])
	for _, i := range also {
		maps.Copy(reached, pl.reach(pl.stages[i]))
	}
	if opt.Stages == AllStages {
		pl.addUnreached(reached)
	}
	for _, s := range pl.stages {
		if reached[s] {
			if err := pl.checkOrder(s); err != nil {
				return nil, err
			}
		}
	}
	p := pl.finish(triggers, reached)
	p.target = pl.stages[target]
	for _, i := range also {
		p.Also = append(p.Also, pl.stages[i])
	}
	return p, nil
}

// also are the places of the stages that are built beside the target.
func (pl *planner) also(target int) ([]int, error) {
	var all []int
	if pl.opt.Stages == UpToTarget {
		for i := range target {
			all = append(all, i)
		}
	}
	for _, name := range pl.opt.Also {
		i, err := pl.find(name)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

// finish makes the plan of what is reached.
func (pl *planner) finish(triggers map[string][]string, reached map[*Stage]bool) *Plan {
	p := &Plan{File: pl.file, Args: pl.args, BuildArgs: pl.opt.Epoch.given(pl.opt.BuildArgs), Platform: pl.opt.Platform, Scope: pl.opt.Scope, opt: pl.opt, triggers: triggers}
	single := len(pl.stages)+pl.unnamed == 1
	for _, s := range pl.stages {
		if !single {
			s.Label = s.Name
		}
		if reached[s] {
			p.Stages = append(p.Stages, s)
		}
	}
	for _, s := range p.Stages {
		pl.addImages(s)
	}
	p.Images = pl.images
	p.Warnings = pl.unusedArgs()
	return p
}

// find is the index of the stage of that name; empty means the last.
func (pl *planner) find(name string) (int, error) {
	stages := pl.file.Stages
	if name == "" {
		return len(stages) - 1, nil
	}
	var names []string
	for i, s := range slices.Backward(stages) {
		if s.Name == "" {
			continue
		}
		if strings.EqualFold(s.Name, name) {
			return i, nil
		}
		names = append(names, s.Name)
	}
	hint := dockerfile.DidYouMean(name, names)
	switch {
	case hint != "":
	case len(names) == 0:
		hint = "no stage has a name: write FROM … AS name"
	default:
		slices.Reverse(names)
		hint = "the stages are " + strings.Join(names, ", ")
	}
	return 0, &dockerfile.Error{File: pl.file.Name, Err: fmt.Errorf("there is no target stage %q", name), Hint: hint}
}

// reach is the set of stages that s needs, itself included.
func (pl *planner) reach(s *Stage) map[*Stage]bool {
	reached := map[*Stage]bool{}
	var visit func(s *Stage)
	visit = func(s *Stage) {
		if reached[s] {
			return
		}
		reached[s] = true
		for _, id := range s.Needs {
			visit(pl.byID(id))
		}
	}
	visit(s)
	return reached
}

// addUnreached adds the stages that nothing needs. BuildKit sets off no triggers in them.
func (pl *planner) addUnreached(reached map[*Stage]bool) {
	for _, s := range pl.stages {
		if !reached[s] {
			s.Triggers, s.triggersKnown = nil, true
			reached[s] = true
		}
	}
}

func (pl *planner) byID(id string) *Stage {
	for _, s := range pl.stages {
		if s.ID == id {
			return s
		}
	}
	panic(fmt.Sprintf("plan: no stage has the ID %q, yet one needs it", id))
}

// normalContexts maps the normal form of each context's name to the name as given. The normal form is that of an image
// reference, since that is what a name may stand for: "debian" and "docker.io/library/debian:latest" are one.
func normalContexts(names []string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range names {
		if strings.EqualFold(name, Scratch) || strings.EqualFold(name, effect.MainContext) {
			return nil, fmt.Errorf("build context %q: the name is reserved", name)
		}
		normal, ok := normalName(name)
		if !ok {
			return nil, fmt.Errorf("build context %q: the name is neither that of a stage nor an image reference", name)
		}
		out[normal] = name
	}
	return out, nil
}

func normalName(name string) (string, bool) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", false
	}
	return reference.TagNameOnly(ref).String(), true
}

// context is the named context that stands for name, if one does.
func (pl *planner) context(name string) (string, bool) {
	if strings.EqualFold(name, Scratch) || strings.EqualFold(name, effect.MainContext) {
		return "", false
	}
	normal, ok := normalName(name)
	if !ok {
		return "", false
	}
	given, ok := pl.contexts[normal]
	return given, ok
}

// checkBuildArgs refuses build arguments that would choose another builder.
func checkBuildArgs(args map[string]string) error {
	if syntax := args["BUILDKIT_SYNTAX"]; syntax != "" {
		if err := dockerfile.CheckSyntax(syntax); err != nil {
			return fmt.Errorf("build argument BUILDKIT_SYNTAX: %w", err)
		}
	}
	if _, ok := args[""]; ok {
		return errors.New("a build argument has no name: write NAME=value")
	}
	return nil
}
