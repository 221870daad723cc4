package host

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/output"
	"github.com/trowel-build/trowel/host/internal/plan"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// made is what a build made: an image for each platform, and the index over them if there is one.
type made struct {
	images []madeImage
	index  *image.Document
}

type madeImage struct {
	*image.Assembled
	platform ocispec.Platform
	result   *stage.Result
}

// top is what names refer to.
func (m *made) top() image.Document {
	if m.index != nil {
		return *m.index
	}
	return m.images[0].Manifest
}

// assemble makes the documents of the images.
func (b *build) assemble(ctx context.Context, e *stage.Engine, results []*stage.Result) (*made, error) {
	m := &made{}
	var manifests []ocispec.Descriptor
	for i, r := range results {
		img, err := b.assembleImage(ctx, e, b.plans[i], r)
		if err != nil {
			return nil, err
		}
		m.images = append(m.images, madeImage{img, b.platforms[i], r})
		if b.targets.index {
			// What was asked for, as BuildKit has it: the config may say more.
			img.Manifest.Descriptor.Platform = &m.images[i].platform
		}
		manifests = append(manifests, img.Manifest.Descriptor)
	}
	if !b.targets.index {
		return m, nil
	}
	index, err := image.AssembleIndex(b.targets.format, manifests, b.targets.annotations)
	m.index = &index
	return m, err
}

// assembleImage makes the documents of the image for one platform.
func (b *build) assembleImage(ctx context.Context, e *stage.Engine, p *plan.Plan, r *stage.Result) (*image.Assembled, error) {
	recipe := image.Recipe{
		Platform: p.Platform, Format: b.targets.format, Annotations: b.targets.annotations, Epoch: b.Epoch,
	}
	if b.targets.index {
		recipe.Annotations = recipe.Annotations.Manifests()
	}
	var from *base.Image
	var err error
	var steps []stage.StepResult
	for _, s := range e.Chain(r.Stage) {
		if from == nil {
			if from, err = e.Base(s); err != nil {
				return nil, err
			}
		}
		steps = append(steps, s.Steps()...)
	}
	for _, st := range r.Squashed(steps) {
		step, ok, err := historyStep(ctx, st)
		if err != nil {
			return nil, err
		}
		if ok {
			recipe.Steps = append(recipe.Steps, step)
		}
	}
	if from != nil {
		if recipe.Base, err = outwardBase(ctx, from, r.Layers); err != nil {
			return nil, err
		}
	}
	final := e.Lowered[r.Stage.ID].State
	recipe.Config, recipe.Author = final.Config.Clone(), final.Author
	for key, value := range b.Labels {
		if recipe.Config.Labels == nil {
			recipe.Config.Labels = map[string]string{}
		}
		recipe.Config.Labels[key] = value
	}
	return image.Assemble(recipe)
}

// outwardBase is the base with its layers, the lowest of those given, in the form that the image has them in.
func outwardBase(ctx context.Context, from *base.Image, layers []*stage.Layer) (*image.Base, error) {
	b := from.Base
	b.Layers = slices.Clone(b.Layers)
	for i := range b.Layers {
		l, err := layers[i].Outward(ctx)
		if err != nil {
			return nil, err
		}
		if l == layers[i] {
			continue // with what its descriptor says beside
		}
		if b.Layers[i].Descriptor, err = l.Descriptor(ctx); err != nil {
			return nil, err
		}
	}
	return &b, nil
}

// historyStep is a step as the image remembers it, if it does.
func historyStep(ctx context.Context, st stage.StepResult) (image.Step, bool, error) {
	if st.CreatedBy == "" && st.Made == nil {
		return image.Step{}, false, nil
	}
	step := image.Step{CreatedBy: st.CreatedBy, Comment: lower.HistoryComment}
	if st.Made == nil {
		return step, st.CreatedBy != "", nil
	}
	made, err := st.Made.Outward(ctx)
	if err != nil {
		return step, false, err
	}
	desc, err := made.Descriptor(ctx)
	if err != nil {
		return step, false, err
	}
	id, err := made.DiffID(ctx)
	if err != nil {
		return step, false, err
	}
	step.Layer = &image.Layer{DiffID: id, Descriptor: desc}
	step.Created = time.Unix(st.Made.Created, 0)
	return step, true, nil
}

// deliver sends what was made to where it goes, to all places at once but for the registries' tags, which come last: they
// are what others see.
func (b *build) deliver(e *stage.Engine, m *made, p *pusher) error {
	if err := e.Arrived(p.ctx); err != nil {
		return p.cause(err)
	}
	for _, spec := range b.targets.outputs {
		p.start(func() error { return b.write(p.ctx, spec, m) })
	}
	return p.finish(m, e.Arrived)
}

// write makes one output.
func (b *build) write(ctx context.Context, spec output.Spec, m *made) error {
	r := output.Request{
		Epoch: b.Epoch, Stdout: b.Stdout, Several: output.Several(b.targets.index),
		Note: func(text string) { b.progress().Report(warning(text)) },
	}
	switch spec.Needs() {
	case output.NeedsTree:
		for _, img := range m.images {
			tree, err := img.result.Tree(ctx)
			if err != nil {
				return err
			}
			r.Trees = append(r.Trees, output.PlatformTree{Platform: platforms.FormatAll(img.platform), Tree: tree})
		}
	case output.NeedsImage:
		if err := b.addImages(ctx, &r, m); err != nil {
			return err
		}
	}
	return output.Write(ctx, spec, r)
}

// addImages gives an output the image or the index.
func (b *build) addImages(ctx context.Context, r *output.Request, m *made) error {
	var all []output.Image
	for _, img := range m.images {
		out, err := outputImage(ctx, img)
		if err != nil {
			return err
		}
		all = append(all, out)
	}
	if m.index == nil {
		r.Image = &all[0]
		r.Image.Names, r.Image.Created = b.targets.names, b.created
		return nil
	}
	r.Index = &output.Index{Document: *m.index, Images: all, Names: b.targets.names, Created: b.created}
	return nil
}

// outputImage is an image in the form that the outputs want.
func outputImage(ctx context.Context, img madeImage) (output.Image, error) {
	out := output.Image{Config: img.Config, Manifest: img.Manifest}
	for i, l := range img.Layers {
		made, err := img.result.Layers[i].Outward(ctx)
		if err != nil {
			return out, err
		}
		out.Layers = append(out.Layers, output.Blob{Descriptor: l.Descriptor, Open: made.OpenBlob})
	}
	return out, nil
}

func (b *build) result(m *made) Result {
	top := m.top().Descriptor
	r := Result{Digest: top.Digest.String(), MediaType: top.MediaType, Size: top.Size, Names: b.targets.names}
	for _, img := range m.images {
		d := img.Manifest.Descriptor
		p := img.Image.Platform()
		r.Images = append(r.Images, ResultImage{
			Platform: strings.TrimSuffix(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/"),
			Digest:   d.Digest.String(), MediaType: d.MediaType, Size: d.Size, Config: img.Config.Descriptor.Digest.String(),
		})
	}
	return r
}

// memoryBlob is a small document as a blob to push.
type memoryBlob struct{ image.Document }

// Open opens the bytes.
func (m memoryBlob) Open(_ context.Context, offset int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.Bytes[offset:])), nil
}

// Descriptor is known.
func (m memoryBlob) Descriptor(context.Context) (ocispec.Descriptor, error) {
	return m.Document.Descriptor, nil
}

// Written says that it is complete.
func (m memoryBlob) Written() (int64, registry.State) { return int64(len(m.Bytes)), registry.Complete }
