package stage

import (
	"context"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/sdk"
)

// Stage is one stage of a build.
type Stage struct {
	ID       string
	base     effect.Location
	file     *dockerfile.File
	platform ocispec.Platform
	target   ocispec.Platform // of the build, and of images that are copied from
	steps    []*step
	noCache  bool // it is to be built anew, whatever caches hold
	anew     bool // so is this stage or one that it rests on
	inImage  bool // its layers are those of the image

	defined cache.Chain // of all its steps by definition
	hits    int         // steps from the start whose layers earlier builds left
	layers  cache.Chain // of the layers below and those hits
	result  lazy[*Result]

	inherits *Stage          // whose directory it gets: see inherit.go
	estate   chan *plainRoot // takes its own when it is done, for another; nil if none gets it
}

// step is an instruction in its stage.
type step struct {
	lower.Step
	stage      *Stage
	id         string // for progress
	makesLayer bool
	bare       cache.Sum // of its effects alone
	definition sdk.Key
	// inputs are what its effects read; known by content before anything runs where they are files of a context.
	inputs      []cache.Input
	inputsKnown bool
	record      *cache.Record // what an earlier build left
	seen        bool          // earlier builds ran this step, on whatever
	layer       *Layer        // once there is one
}

// runs says whether the step runs a process.
func (st *step) runs() bool {
	return slices.ContainsFunc(st.Effects, func(x effect.Effect) bool { _, ok := x.(effect.Exec); return ok })
}

// Result is what a stage came to.
type Result struct {
	Stage  *Stage
	Layers []*Layer // lowest first, those of the base included, as steps see them

	engine *Engine
	tree   lazy[*filetree.Tree]
	one    *Layer // the only one beyond the base, if that is asked for
}

// Tree is the merged view of the stage's layers. It waits until they are written.
func (r *Result) Tree(ctx context.Context) (*filetree.Tree, error) {
	return r.tree.get(func() (*filetree.Tree, error) { return r.engine.merge(ctx, filetree.Empty(), r.Layers) })
}

// Layer is the layer that the step with this index in the stage made; nil if it made none.
func (s *Stage) Layer(i int) *Layer { return s.steps[i].layer }

// build returns the stage's result, building it if nobody did yet.
func (s *Stage) build(ctx context.Context, e *Engine) (*Result, error) {
	return s.result.get(func() (*Result, error) {
		b := &builder{engine: e, stage: s}
		if err := b.run(ctx); err != nil {
			e.cancel(err) // the first error is the one to tell, and ends what others do
			return nil, err
		}
		return &Result{Stage: s, engine: e, Layers: b.layers}, nil
	})
}

// builder is a stage in the making.
type builder struct {
	engine *Engine
	stage  *Stage
	layers []*Layer

	// tree is the merged view of the first `merged` layers, as their written forms say; view is that of all layers, of
	// which the last may still be being written. nil until somebody wants to know.
	tree   *filetree.Tree
	merged int
	view   *filetree.Tree

	// dirs are the directories of the first `covered` layers, lowest first, below Engine.Dir.
	dirs    []string
	covered int

	// root is the stage's directory where nothing can be mounted, early the one that is made in advance.
	root  *plainRoot
	early func() (*plainRoot, error)
	// sound is asked by the next layer when it has read all its files: see [layer.Options].
	sound func(ctx context.Context) error
}

// run goes through the stage's steps.
func (b *builder) run(ctx context.Context) error {
	s, e := b.stage, b.engine
	if s.hits < len(s.steps) {
		b.startNeeds(ctx)
	}
	if err := b.takeBase(ctx); err != nil {
		return err
	}
	defer b.releaseRoot()
	for i, st := range s.steps {
		if i == s.hits {
			b.expectRoot(ctx)
		}
		if !st.makesLayer {
			continue // lowering has done all there is to do
		}
		do := b.step
		if i < s.hits {
			do = b.takeHit
		}
		if err := b.once(ctx, st, do); err != nil {
			return e.fail(st, err)
		}
	}
	return nil
}

// show does a step and shows how it goes.
func (b *builder) show(ctx context.Context, st *step, do stepFunc) error {
	b.engine.stepStarted(st)
	hit, err := do(ctx, st)
	status := progress.StatusDone
	if hit {
		status = progress.StatusCached
	}
	b.engine.stepDone(ctx, st, status, err)
	return err
}

// stepFunc does a step, and says whether what it makes was there.
type stepFunc func(ctx context.Context, st *step) (hit bool, err error)

// startNeeds starts to build the stages that the steps from the first miss on read, all at once. Whoever reads one waits
// for it, and sees its error.
func (b *builder) startNeeds(ctx context.Context) {
	for _, st := range b.stage.steps[b.stage.hits:] {
		for _, at := range locations(st.Effects) {
			if need, ok := b.engine.stages[at.Stage]; ok {
				b.engine.background.Go(func() error {
					_, err := need.build(ctx, b.engine)
					return err
				})
			}
		}
	}
}

// takeBase starts with the layers of the base.
func (b *builder) takeBase(ctx context.Context) error {
	layers, err := b.engine.baseLayers(ctx, b.stage.base, b.stage.platform)
	if err != nil {
		return err
	}
	b.layers = append(b.layers, layers...)
	for _, l := range layers {
		b.expect(ctx, l)
	}
	if b.engine.plain() && len(layers) > 0 && slices.ContainsFunc(b.stage.steps[b.stage.hits:], (*step).runs) {
		layers[0].unpacks.Store(true) // whoever has to read it for its index makes the directory on the way
	}
	if b.stage.inImage && b.stage.base.Stage == "" {
		for _, l := range layers {
			b.engine.publishOutward(ctx, l)
		}
	}
	return nil
}

// takeHit takes a step's layer from an earlier build, found by the step's definition.
func (b *builder) takeHit(ctx context.Context, st *step) (bool, error) {
	l, err := b.found(ctx, st, *st.record)
	if err != nil {
		return true, err
	}
	b.add(ctx, st, l)
	b.expect(ctx, l)
	return true, nil
}

// expect prepares a layer for the processes that are ahead: who reads it for its index shall unpack it as well, and if
// it is certain that a process will run, that can start now.
func (b *builder) expect(ctx context.Context, l *Layer) {
	ahead := b.stage.steps[b.stage.hits:]
	if b.engine.plain() || l.isDir() || !slices.ContainsFunc(ahead, (*step).runs) {
		return
	}
	l.unpacks.Store(true)
	if slices.ContainsFunc(ahead, func(st *step) bool { return st.runs() && !st.seen }) {
		b.engine.background.Go(func() error {
			_, err := l.unpack(ctx)
			return err
		})
	}
}

// add puts a step's layer on top.
func (b *builder) add(ctx context.Context, st *step, l *Layer) {
	st.layer = l
	b.layers, b.view = append(b.layers, l), nil
	if b.stage.inImage {
		b.engine.publishOutward(ctx, l)
	}
}

// step does what a step says, or finds that it was done on the same layers before.
func (b *builder) step(ctx context.Context, st *step) (hit bool, err error) {
	var key sdk.Key
	if st.seen && !b.stage.noCache {
		if key, err = b.contentKey(ctx, st, b.layers); err != nil {
			return false, err
		}
		if r, ok := b.engine.lookUp(ctx, key); ok {
			l, err := b.found(ctx, st, *r)
			if err != nil {
				return true, err
			}
			b.add(ctx, st, l)
			b.engine.background.Go(func() error { return b.engine.putRecords(ctx, st, key, *r) })
			return true, nil
		}
	}
	return false, b.execute(ctx, st)
}

// current is the merged view of all layers. The content digests of the last one's files may be missing.
func (b *builder) current(ctx context.Context) (*filetree.Tree, error) {
	if b.view == nil {
		tree, err := b.settled(ctx)
		if err != nil {
			return nil, err
		}
		b.view = tree
	}
	return b.view, nil
}

// settled is the merged view of all layers with all that is known of a written layer: content digests, and where in it
// each file is.
func (b *builder) settled(ctx context.Context) (*filetree.Tree, error) {
	if b.tree == nil {
		b.tree = filetree.Empty()
	}
	tree, err := b.engine.merge(ctx, b.tree, b.layers[b.merged:])
	if err != nil {
		return nil, err
	}
	b.tree, b.merged, b.view = tree, len(b.layers), tree
	return tree, nil
}
