package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/cache"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
	"github.com/trowel-build/trowel/host/internal/layer"
	"github.com/trowel-build/trowel/sdk"
)

// Outward is the layer as the image has it. Steps never see that form: a process must find the same files whether the
// layers below come from a cache or not, and whatever SOURCE_DATE_EPOCH is.
func (l *Layer) Outward(ctx context.Context) (*Layer, error) {
	return l.outward.get(func() (*Layer, error) {
		if l.engine.staysAsItIs(l) {
			return l, nil
		}
		if l.ofBase {
			return l.engine.outward(ctx, l, "as it is", l.engine.recompress)
		}
		return l.engine.outward(ctx, l, l.engine.Form.name(), l.engine.reform)
	})
}

// name tells the forms of a layer apart.
func (f Form) name() string {
	var parts []string
	if f.NotAfter != nil {
		parts = append(parts, fmt.Sprintf("not after %d", f.NotAfter.Unix()))
	}
	if len(f.Ignore) > 0 {
		parts = append(parts, fmt.Sprintf("without %q", f.Ignore))
	}
	return strings.Join(parts, ", ")
}

// staysAsItIs says whether the image has a layer as steps see it.
func (e *Engine) staysAsItIs(l *Layer) bool {
	if !l.ofBase {
		return l.squashed || e.Form.NotAfter == nil && len(e.Form.Ignore) == 0
	}
	have, err := image.LayerCompression(l.known.MediaType)
	return e.Form.Base == KeepCompression || err != nil || have == e.Layers.Compression
}

// recompress writes the tar of a base's layer with the compression of the others.
func (e *Engine) recompress(ctx context.Context, l *Layer) (*Layer, error) {
	p, err := layer.Recompress(ctx, e.Store, l.OpenBlob, e.Layers)
	if err != nil {
		return nil, err
	}
	out := e.pendingLayer(p)
	out.original = l
	return out, nil
}

// reform writes a layer anew in the image's form.
func (e *Engine) reform(ctx context.Context, l *Layer) (*Layer, error) {
	changes, err := l.contents(ctx)
	if err != nil {
		return nil, err
	}
	p, err := layer.Start(ctx, e.Store, e.Form.apply(changes), e.Layers)
	if err != nil {
		return nil, err
	}
	return e.pendingLayer(p), nil
}

// apply gives changes the image's form.
func (f Form) apply(changes []filetree.Change) []filetree.Change {
	kept := changes[:0]
	ignored, moved := map[string]filetree.Change{}, map[string]string{}
	for _, c := range changes {
		if f.ignores(c.Path) {
			ignored[c.Path] = c
			continue
		}
		if c.Type == filetree.Hardlink && f.ignores(c.Link) { // the first of such links becomes the file
			file, ok := ignored[c.Link]
			if to, again := moved[c.Link]; again {
				c.Link = to
			} else if ok {
				moved[c.Link], file.Path = c.Path, c.Path
				c = file
			}
		}
		if f.NotAfter != nil {
			c.ModTime = min(c.ModTime, f.NotAfter.UnixNano())
		}
		kept = append(kept, c)
	}
	return kept
}

func (f Form) ignores(name string) bool {
	return slices.ContainsFunc(f.Ignore, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") })
}

// outward makes a layer's outward form, or finds what an earlier build made.
func (e *Engine) outward(ctx context.Context, l *Layer, form string, write func(context.Context, *Layer) (*Layer, error)) (*Layer, error) {
	id, err := l.DiffID(ctx)
	if err != nil {
		return nil, err
	}
	key := cache.OutwardKey(id.String(), fmt.Sprintf("%s, %s %d", form, e.Layers.Compression, e.Layers.Level))
	if r, ok := e.lookUp(ctx, key); ok {
		found := e.recordedLayer(*r)
		found.Created = l.Created
		return found, nil
	}
	out, err := write(ctx, l)
	if err != nil {
		return nil, err
	}
	out.Created = l.Created
	e.background.Go(func() error { return e.keepOutward(ctx, key, out) })
	return out, nil
}

// keepOutward stores a layer in the image's form in the caches.
func (e *Engine) keepOutward(ctx context.Context, key sdk.Key, l *Layer) error {
	if _, err := l.DiffID(ctx); err != nil || e.Cache.ReadOnly() {
		return err
	}
	made, err := l.pending.Wait()
	if err != nil {
		return err
	}
	record, err := e.recordOf(ctx, l, made, nil)
	if err != nil {
		return err
	}
	value, err := record.Encode()
	if err != nil {
		return err
	}
	e.Cache.PutRecords(ctx, []sdk.Record{{Key: key, Value: value}})
	return nil
}

// publish tells of a layer of the image as it will be there.
func (e *Engine) publish(l *Layer) {
	if e.Publish != nil {
		e.Publish(l)
	}
}

// publishOutward tells of a layer in the image's form once there is one.
func (e *Engine) publishOutward(ctx context.Context, l *Layer) {
	if e.Form.Layers == OneLayer && !l.ofBase {
		return // it is a part of the one layer
	}
	if e.staysAsItIs(l) {
		e.publish(l)
		return
	}
	e.background.Go(func() error {
		out, err := l.Outward(ctx)
		if err == nil {
			e.publish(out)
		}
		return err
	})
}
