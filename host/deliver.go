package host

import (
	"bytes"
	"context"
	"io"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/lower"
	"github.com/trowel-build/trowel/host/internal/output"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// assemble makes the documents of the image.
func (b *build) assemble(ctx context.Context, e *stage.Engine, target *stage.Stage) (*image.Assembled, error) {
	recipe := image.Recipe{
		Platform: b.plan.Target().Platform, Format: b.targets.format,
		Annotations: b.targets.annotations, Created: b.created, Epoch: b.Epoch,
	}
	var from *base.Image
	var err error
	for _, s := range e.Chain(target) {
		if from == nil {
			if from, err = e.Base(s); err != nil {
				return nil, err
			}
		}
		for _, st := range s.Steps() {
			step, ok, err := historyStep(ctx, st)
			if err != nil {
				return nil, err
			}
			if ok {
				recipe.Steps = append(recipe.Steps, step)
			}
			recipe.Config = st.Config
		}
	}
	if from != nil {
		recipe.Base = &from.Base
	}
	final := e.Lowered[target.ID].State
	recipe.Config, recipe.Author = final.Config.Clone(), final.Author
	for key, value := range b.Labels {
		if recipe.Config.Labels == nil {
			recipe.Config.Labels = map[string]string{}
		}
		recipe.Config.Labels[key] = value
	}
	return image.Assemble(recipe)
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
	desc, err := st.Made.Descriptor(ctx)
	if err != nil {
		return step, false, err
	}
	id, err := st.Made.DiffID(ctx)
	if err != nil {
		return step, false, err
	}
	step.Layer = &image.Layer{DiffID: id, Descriptor: desc}
	step.Created = time.Unix(st.Made.Created, 0)
	return step, true, nil
}

// deliver sends the image to where it goes, to all places at once but for the registries' tags, which come last: they
// are what others see.
func (b *build) deliver(img *image.Assembled, built *stage.Result, p *pusher) error {
	for _, spec := range b.targets.outputs {
		p.start(func() error { return b.write(p.ctx, spec, img, built) })
	}
	return p.finish(img)
}

// write makes one output.
func (b *build) write(ctx context.Context, spec output.Spec, img *image.Assembled, built *stage.Result) error {
	r := output.Request{Epoch: b.Epoch, Stdout: b.Stdout, Note: func(text string) { b.progress().Report(warning(text)) }}
	switch spec.Needs() {
	case output.NeedsTree:
		tree, err := built.Tree(ctx)
		if err != nil {
			return err
		}
		r.Tree = tree
	case output.NeedsImage:
		r.Image = outputImage(img, built, b.targets.names, b.created)
	}
	return output.Write(ctx, spec, r)
}

// outputImage is the image in the form that the outputs want.
func outputImage(img *image.Assembled, built *stage.Result, names []string, created time.Time) *output.Image {
	out := &output.Image{Config: img.Config, Manifest: img.Manifest, Names: names, Created: created}
	for i, l := range img.Layers {
		made := built.Layers[i]
		out.Layers = append(out.Layers, output.Blob{Descriptor: l.Descriptor, Open: made.OpenBlob})
	}
	return out
}

func (b *build) result(img *image.Assembled) Result {
	r := Result{
		Digest: img.Manifest.Descriptor.Digest.String(), Config: img.Config.Descriptor.Digest.String(),
		MediaType: img.Manifest.Descriptor.MediaType, Size: img.Manifest.Descriptor.Size, Names: b.targets.names,
	}
	p := img.Image.Platform()
	r.Platform = p.OS + "/" + p.Architecture
	if p.Variant != "" {
		r.Platform += "/" + p.Variant
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
