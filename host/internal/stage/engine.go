// Package stage builds the stages of a plan: what earlier builds left is taken from the caches, and the rest is made, a
// stage's steps one after the other and the stages beside each other.
//
// A stage's state is a stack of layers and their merged [filetree.Tree]. COPY and WORKDIR are answered by the tree alone;
// only a step that runs a process has the layers unpacked to disk. A layer that a step makes is written in the background,
// while the next step runs.
//
//	engine.go     what the stages of a build share
//	lookahead.go  keys, asked for before anything runs
//	stage.go      the loop of one stage
//	copy.go       effects that need no process      exec.go   the one that does
//	commit.go     changes → layer → cache           layer.go  a layer, whatever it comes from
package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/buildcontext"
	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// Options are what the stages of one build share. All fields are required unless they say otherwise.
type Options struct {
	Plan    *plan.Plan
	Lowered map[string]*lower.Lowered // by stage ID
	// Images are the images that FROM and COPY --from name, and the named contexts that are images.
	Images map[ImageKey]*base.Image
	// Contexts are the main build context, as [effect.MainContext], and the named ones that are directories.
	Contexts map[string]*buildcontext.Context

	Store *blob.Store
	// Dir holds the root file systems of processes. It is empty at first, and so it should be at last: see [Engine.Close].
	Dir string
	// Memory holds unpacked layers that fit; nil for none.
	Memory *Memory
	Cache  *cache.Tiers
	// NoCache says for which stages nothing is looked up; nil means for none.
	NoCache func(stageID string) bool
	// Layers says how the layers of the image are compressed.
	Layers layer.Options
	// Launcher starts processes; nil if there is none to start.
	Launcher *executor.Launcher
	// Run is what all processes have in common.
	Run Run
	// Publish is told of each layer of the image as soon as there is one, even if it is still being written; nil for
	// nobody.
	Publish  func(*Layer)
	Progress progress.Reporter
	// Created is the time of what has no other; it is the build's start or SOURCE_DATE_EPOCH.
	Created time.Time
	// Jobs bounds how many stages are at work at once; 0 means no bound.
	Jobs int
}

// Run is what the processes of a build have in common.
type Run struct {
	Network    effect.Network // of those that do not say
	Hostname   string
	ResolvConf []byte
	Hosts      []byte
}

// ImageKey names an image for a platform.
type ImageKey struct {
	At       effect.Location
	Platform string
}

// Engine builds the stages of one plan.
type Engine struct {
	Options
	stages map[string]*Stage
	order  []*Stage
	nonce  string

	platform string // of the target, and of images that are copied from

	form   rootfs.Form   // of the root file systems on disk
	owners rootfs.Owners // of their files

	contextTrees map[string]*lazy[*filetree.Tree]
	places       atomic.Int64  // directories made
	slots        chan struct{} // of [Options.Jobs]

	mu          sync.Mutex
	imageLayers map[*base.Image][]*Layer

	// background is what must be done before the build is, but nothing waits for: storing in caches.
	background errgroup.Group
}

// New prepares the stages of a plan.
func New(o Options) (*Engine, error) {
	e := &Engine{
		Options: o, stages: map[string]*Stage{}, nonce: fmt.Sprint(time.Now().UnixNano()), platform: formatPlatform(o.Plan.Platform),
		contextTrees: map[string]*lazy[*filetree.Tree]{}, imageLayers: map[*base.Image][]*Layer{},
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
	for _, p := range o.Plan.Stages {
		s := &Stage{ID: p.ID, base: p.Base, platform: formatPlatform(p.Platform), noCache: o.NoCache != nil && o.NoCache(p.ID)}
		for i, l := range o.Lowered[p.ID].Steps {
			s.steps = append(s.steps, &step{Step: l, stage: s, id: fmt.Sprintf("%s/%d", p.ID, i), makesLayer: l.Layer == lower.OneLayer})
		}
		if _, isDir := o.Contexts[p.Base.Context]; isDir && p.Base.Context != "" {
			s.baseOnDirectory(o.Lowered[p.ID].BaseName)
		}
		e.stages[s.ID] = s
		e.order = append(e.order, s)
	}
	for _, s := range e.order {
		if len(s.steps) > rootfs.MaxLowers/2 {
			// So many layers have to be merged by links, which takes one file system.
			e.Memory = nil
		}
	}
	for s := e.order[len(e.order)-1]; s != nil; s = e.stages[s.base.Stage] {
		s.inImage = true
	}
	return e, nil
}

// lookAround finds out how files look on disk here: in a user namespace overlayfs marks them in another way, and not all
// owners exist.
func (e *Engine) lookAround() error {
	if e.Launcher == nil {
		return nil
	}
	ns, err := e.Launcher.UserNamespace()
	if err != nil || ns.Initial {
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

// Build builds the target stage and all that it needs.
func (e *Engine) Build(ctx context.Context) (*Stage, *Result, error) {
	if err := e.lookAhead(ctx); err != nil {
		return nil, nil, err
	}
	if err := e.canRun(); err != nil {
		return nil, nil, err
	}
	target := e.order[len(e.order)-1]
	result, err := target.build(ctx, e)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range result.Layers {
		if _, err := l.DiffID(ctx); err != nil {
			return nil, nil, err
		}
	}
	return target, result, nil
}

// Wait waits until everything is stored in the caches.
func (e *Engine) Wait() { _ = e.background.Wait() }

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
func (e *Engine) image(at effect.Location, platform string) (*base.Image, error) {
	if img, ok := e.Images[ImageKey{at, platform}]; ok {
		return img, nil
	}
	return nil, fmt.Errorf("image %q for %s was not opened", at.Image+at.Context, platform)
}

// ErrNoLauncher says that a step has a process to run and the caller gave no means to.
var ErrNoLauncher = errors.New("no way to run processes")

// canRun finds out, before anything runs, whether what has to run can.
func (e *Engine) canRun() error {
	if e.Launcher != nil {
		return nil
	}
	for _, s := range e.order {
		if i := slices.IndexFunc(s.steps[s.hits:], (*step).runs); i >= 0 {
			return e.fail(s.steps[s.hits+i], ErrNoLauncher)
		}
	}
	return nil
}

// place is a new path for a directory below e.Dir; the shorter, the more layers fit into an overlay's options.
func (e *Engine) place() string { return fmt.Sprint(e.places.Add(1)) }

// fail puts an error where it belongs in the Dockerfile.
func (e *Engine) fail(st *step, err error) error {
	if st.Instruction.Command == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if _, ok := errors.AsType[*dockerfile.Error](err); ok {
		return err
	}
	hint := ""
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		hint = h.Hint()
	}
	return e.Plan.File.Fail(st.Instruction, "", err, hint)
}

// publish tells of a layer of the image.
func (e *Engine) publish(l *Layer) {
	if e.Publish != nil {
		e.Publish(l)
	}
}

func (e *Engine) stepStarted(st *step) {
	e.Progress.Report(progress.Event{Time: time.Now(), Kind: progress.KindStepStarted, ID: st.id, Name: st.Name})
}

func (e *Engine) stepDone(ctx context.Context, st *step, status progress.Status, err error) {
	ev := progress.Event{Time: time.Now(), Kind: progress.KindStepDone, ID: st.id, Status: status}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		ev.Status = progress.StatusCancelled
	default:
		ev.Status, ev.Error = progress.StatusFailed, strings.TrimSpace(err.Error())
	}
	e.Progress.Report(ev)
}

func (e *Engine) warn(text string) {
	e.Progress.Report(progress.Event{Time: time.Now(), Kind: progress.KindMessage, Level: "warning", Text: text})
}

// formatPlatform is the form of platforms in [ImageKey].
func formatPlatform(p ocispec.Platform) string { return platforms.Format(p) }
