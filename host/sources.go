package host

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// sources are the places that a build reads: contexts and images.
type sources struct {
	contexts map[string]buildContext
	images   map[stage.ImageKey]*base.Image
}

// openImages opens those images that are not open yet, all at once.
func (b *build) openImages(ctx context.Context, wanted []wantedImage) error {
	g, ctx := errgroup.WithContext(ctx)
	opened := make([]*base.Image, len(wanted))
	for i, w := range wanted {
		if _, ok := b.sources.images[w.key]; ok {
			continue
		}
		g.Go(func() (err error) {
			if opened[i], err = b.openImage(ctx, w); err != nil {
				return b.file.Fail(w.instruction, w.word, err, first(Hint(err), w.hint))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, w := range wanted {
		if opened[i] != nil {
			b.sources.images[w.key] = opened[i]
		}
	}
	return nil
}

func (b *build) openImage(ctx context.Context, w wantedImage) (*base.Image, error) {
	reference := w.key.At.Image
	if w.key.At.Context != "" {
		value := b.NamedContexts[w.key.At.Context]
		if dir, ok := strings.CutPrefix(value, "oci-layout://"); ok {
			return base.OpenLayout(ctx, dir, w.platform)
		}
		reference = strings.TrimPrefix(value, "docker-image://")
	}
	return base.OpenRemote(ctx, b.client, reference, w.platform)
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (s *sources) close() error {
	var errs []error
	for _, c := range s.contexts {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
