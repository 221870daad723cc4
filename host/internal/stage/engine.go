// Package stage builds the stages of a plan: what earlier builds left is taken from the caches, and the rest is made, a
// stage's steps one after the other and the stages beside each other.
//
// A stage's state is a stack of layers and their merged [filetree.Tree]. COPY and WORKDIR are answered by the tree alone;
// only a step that runs a process has the layers unpacked to disk. A layer that a step makes is written in the background,
// while the next step runs.
//
//	options.go    what a build is asked for         report.go  what is told of it
//	engine.go     what the stages of a build share  outward.go  the layers of the image, in its own form
//	lookahead.go  keys, asked for before anything runs
//	need.go       what has to be built, and whether it can be
//	stage.go      the loop of one stage         shared.go  steps that stages of several platforms have in common
//	effects.go    the effects of a step: one, or several that make one layer
//	copy.go       effects that need no process      exec.go   the one that does
//	plain.go      its root file system where nothing can be mounted
//	inplace.go    what is due where that is the root directory, one stage at a time
//	inherit.go    how a stage there gets the root file system of another that is done
//	mount.go      what its mounts show: files, secrets; agent.go, cachemount.go
//	commit.go     changes → layer → cache           layer.go  a layer, whatever it comes from
package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// Engine builds the stages of plans.
type Engine struct {
	Options
	Isolation // once a process has to run
	stages    map[string]*Stage
	order     []*Stage
	targets   []*Stage
	others    []*Stage                // that are built for their own sake
	ctx       context.Context         //nolint:containedctx // of the build: what is fetched outlives whoever wanted it first
	cancel    context.CancelCauseFunc // ends the build
	abandon   context.CancelCauseFunc // ends what is fetched, too
	failed    bool                    // the build has

	form     rootfs.Form   // of the root file systems on disk
	owners   rootfs.Owners // of their files
	singleID bool          // all files have one owner here

	contextTrees map[string]*lazy[*filetree.Tree]
	remotes      map[effect.Location]*lazy[Remote]
	places       atomic.Int64  // directories made
	slots        chan struct{} // of [Options.Jobs]
	root         chan struct{} // holds an element while somebody has the one root directory: see takeRoot
	runs         atomic.Int64  // how often a process has begun or ended to run in it

	mu           sync.Mutex
	imageLayers  map[*base.Image][]*Layer
	shared       map[sharedStep]*lazy[*Layer]
	shown        map[shownFiles]*lazy[string] // directories with files that are mounted
	watchedFiles map[string]*watched          // those, by name, where processes run in place
	usedCaches   map[cache.Sum]*usedCache
	arriving     []*blob.Blob // all that was fetched, or is being

	// background is what must be done before the build is, but nothing waits for: storing in caches.
	background errgroup.Group
}

// New prepares the stages of plans.
func New(o Options) (*Engine, error) {
	e := &Engine{
		Options: o, stages: map[string]*Stage{}, contextTrees: map[string]*lazy[*filetree.Tree]{}, remotes: map[effect.Location]*lazy[Remote]{},
		imageLayers: map[*base.Image][]*Layer{}, shared: map[sharedStep]*lazy[*Layer]{},
		shown: map[shownFiles]*lazy[string]{}, usedCaches: map[cache.Sum]*usedCache{}, root: make(chan struct{}, 1),
		watchedFiles: map[string]*watched{},
	}
	if err := e.lookAround(); err != nil {
		return nil, err
	}
	if o.Jobs > 0 {
		e.slots = make(chan struct{}, o.Jobs)
	}
	for name := range o.Contexts {
		e.contextTrees[name] = &lazy[*filetree.Tree]{}
	}
	for _, p := range o.Plans {
		e.add(p)
	}
	e.findRemotes()
	return e, nil
}

// add adds the stages of a plan.
func (e *Engine) add(pl *plan.Plan) {
	for _, p := range pl.Stages {
		s := &Stage{
			ID: p.ID, base: p.Base, file: pl.File, platform: p.Platform, target: pl.Platform,
			noCache: e.NoCache != nil && e.NoCache(p),
		}
		for i, l := range e.Lowered[p.ID].Steps {
			l.Effects = e.complete(l.Effects)
			s.steps = append(s.steps, &step{Step: l, stage: s, id: fmt.Sprintf("%s/%d", p.ID, i), makesLayer: l.Layer == lower.OneLayer})
		}
		if _, isDir := e.Contexts[p.Base.Context]; isDir && p.Base.Context != "" {
			s.baseOnDirectory(e.Lowered[p.ID].BaseName)
		}
		e.stages[s.ID] = s
		e.order = append(e.order, s)
	}
	target := e.stages[pl.Target().ID]
	e.targets = append(e.targets, target)
	for _, s := range pl.Also {
		e.others = append(e.others, e.stages[s.ID])
	}
	for s := target; s != nil; s = e.stages[s.base.Stage] {
		s.inImage = true
	}
}

// fitMemory keeps layers on disk where so many may have to be merged by links, which takes one file system.
func (e *Engine) fitMemory() {
	if e.plain() { // what processes see lies in one directory, to which they write
		e.Memory = nil
	}
	depth := map[string]int{} // of directories, at most
	for _, s := range e.order {
		depth[s.ID] = depth[s.base.Stage]
		for _, st := range s.steps {
			if st.makesLayer {
				depth[s.ID] += len(st.Effects) // each may be on a layer of its own for the ones after it
			}
		}
		if depth[s.ID] > rootfs.MaxLowers/2 {
			e.Memory = nil
		}
	}
}

// complete puts into effects what the build as a whole decides about them, so that it is part of their keys.
func (e *Engine) complete(effects []effect.Effect) []effect.Effect {
	effects = slices.Clone(effects)
	for i, x := range effects {
		switch x := x.(type) {
		case effect.Exec:
			if x.Network == "" || x.Network == effect.NetworkDefault {
				x.Network = e.Run.Network
			}
			if x.Network != effect.NetworkNone {
				x.Network = effect.NetworkHost
			}
			x.Hosts, x.Limits, x.ShmSize = e.Run.Hosts, e.Run.Limits, e.Run.ShmSize
			effects[i] = x
		case effect.Copy:
			x.Time = e.epoch()
			effects[i] = x
		case effect.Mkdir:
			x.Time = e.epoch()
			effects[i] = x
		case effect.Symlink:
			x.Time = e.epoch()
			effects[i] = x
		}
	}
	return effects
}

// epoch is SOURCE_DATE_EPOCH, or 0.
func (e *Engine) epoch() int64 {
	if e.Epoch == nil {
		return 0
	}
	return e.Epoch.UnixNano()
}

// timeOf is what is given to what a step makes and no source dates.
func (e *Engine) timeOf(own int64) int64 {
	if own != 0 {
		return own
	}
	return e.Created.UnixNano()
}

// acquire waits until the step may work, where [Options.Jobs] bounds how many do at once. What the step reads of other
// stages is built before: they need their turn as well.
func (e *Engine) acquire(ctx context.Context, st *step) (release func(), err error) {
	if e.slots == nil {
		return func() {}, nil
	}
	for _, at := range locations(st.Effects) {
		if need, ok := e.stages[at.Stage]; ok {
			if _, err := need.build(ctx, e); err != nil {
				return nil, err
			}
		}
	}
	select {
	case e.slots <- struct{}{}:
		return func() { <-e.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// lookAround finds out how files look on disk here: in a user namespace overlayfs marks them in another way, and not all
// owners exist.
func (e *Engine) lookAround() error {
	if e.Launcher == nil {
		return nil
	}
	ns, err := e.Launcher.UserNamespace()
	if e.singleID = ns.SingleID; err != nil || ns.Initial {
		return err
	}
	e.form = rootfs.UserXattrs
	e.owners, err = rootfs.MappedOwners()
	return err
}

// trees are the options of root file systems on disk.
func (e *Engine) trees() rootfs.Options { return rootfs.Options{Form: e.form, Owners: e.owners} }

// baseOnDirectory makes a stage that is FROM a named context which is a directory start with a copy of it.
func (s *Stage) baseOnDirectory(name string) {
	all := effect.Copy{Sources: []effect.CopySource{{From: s.base, Paths: []string{"."}}}, Dest: "/"}
	first := &step{
		Step:  lower.Step{Name: name, Effects: []effect.Effect{all}, CreatedBy: "COPY . / # buildkit", Layer: lower.OneLayer},
		stage: s, id: s.ID + "/base", makesLayer: true,
	}
	s.base, s.steps = effect.Location{}, append([]*step{first}, s.steps...)
}

// Build builds the target stage of each plan, and all that they need. [Engine.Wait] must be called in any case.
func (e *Engine) Build(ctx context.Context) ([]*Result, error) {
	ctx = e.begin(ctx)
	results, err := e.build(ctx)
	if err != nil {
		e.failed = true
		e.cancel(err)
		e.abandon(err)
		// Others may have failed for no other reason than that the first one did.
		return nil, context.Cause(ctx)
	}
	return results, nil
}

// begin makes the contexts of the build.
func (e *Engine) begin(ctx context.Context) context.Context {
	// What is fetched may be wanted after the build is waited for, by a plugin that reads its files.
	e.ctx, e.abandon = context.WithCancelCause(ctx)
	ctx, e.cancel = context.WithCancelCause(e.ctx)
	return ctx
}

func (e *Engine) build(ctx context.Context) ([]*Result, error) {
	if err := e.lookAhead(ctx); err != nil {
		return nil, err
	}
	if err := e.canRun(ctx); err != nil {
		return nil, err
	}
	e.bequeath()
	if err := each(slices.Concat(e.targets, e.others), func(s *Stage) error { _, err := s.build(ctx, e); return err }); err != nil {
		return nil, err
	}
	results := make([]*Result, 0, len(e.targets))
	for _, s := range e.targets {
		result, err := s.build(ctx, e)
		if err != nil {
			return nil, err
		}
		if e.Form.Layers == OneLayer {
			if result, err = e.squash(ctx, result); err != nil {
				return nil, err
			}
		}
		for _, l := range result.Layers {
			out, err := l.Outward(ctx)
			if err != nil {
				return nil, err
			}
			if _, err := out.DiffID(ctx); err != nil {
				return nil, err
			}
			e.publish(out) // in case that nobody did in the background yet
		}
		results = append(results, result)
	}
	return results, nil
}

// Arrived waits until everything that was fetched so far is there and is what its digest says. Layers are read while they
// arrive, in parts: nothing may be given a name before this is known.
func (e *Engine) Arrived(ctx context.Context) error {
	e.mu.Lock()
	arriving := slices.Clone(e.arriving)
	e.mu.Unlock()
	for _, b := range arriving {
		if _, _, err := b.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Wait waits until everything is stored in the caches. What could not be stored is a warning, unless it says that the
// build rests on a damaged blob.
func (e *Engine) Wait() error {
	err := e.background.Wait()
	e.Cache.Wait()
	if e.cancel != nil {
		e.cancel(nil)
	}
	if _, damaged := errors.AsType[*DamagedBlob](err); damaged {
		return err
	}
	if err != nil && !e.failed {
		e.warn(err.Error())
	}
	return nil
}

// Steps are the steps of a stage, with the layers that they made once it was built.
func (s *Stage) Steps() []StepResult {
	out := make([]StepResult, 0, len(s.steps))
	for _, st := range s.steps {
		out = append(out, StepResult{Step: st.Step, Made: st.layer})
	}
	return out
}

// Chain are the stages that a stage is based on, the lowest first, and the stage itself at the end.
func (e *Engine) Chain(s *Stage) []*Stage {
	var chain []*Stage
	for ; s != nil; s = e.stages[s.base.Stage] {
		chain = append([]*Stage{s}, chain...)
	}
	return chain
}

// Base is the image that a stage starts from; nil if it is another stage or scratch.
func (e *Engine) Base(s *Stage) (*base.Image, error) {
	if s.base.Stage != "" || s.base == (effect.Location{}) {
		return nil, nil
	}
	return e.image(s.base, s.platform)
}

// StepResult is a step and what it made.
type StepResult struct {
	lower.Step
	Made *Layer // nil if it made none
}

// image is the image at a location, which was opened before the build.
func (e *Engine) image(at effect.Location, platform ocispec.Platform) (*base.Image, error) {
	if img, ok := e.Images[ImageKey{at, formatPlatform(platform)}]; ok {
		return img, nil
	}
	return nil, fmt.Errorf("image %q for %s was not opened", at.Image+at.Context, formatPlatform(platform))
}

// place is a new path for a directory below e.Dir; the shorter, the more layers fit into an overlay's options.
func (e *Engine) place() string { return fmt.Sprint(e.places.Add(1)) }
