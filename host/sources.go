package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/containerd/platforms"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/buildcontext"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// maxDockerfile bounds a Dockerfile on standard input.
const maxDockerfile = 16 << 20

// sources are the places that a build reads: contexts and images.
type sources struct {
	contexts map[string]*buildcontext.Context
	images   map[stage.ImageKey]*base.Image
}

// openSources opens the main context and the named ones that are directories.
func openSources(ctx context.Context, r Request) (_ *sources, err error) {
	s := &sources{contexts: map[string]*buildcontext.Context{}, images: map[stage.ImageKey]*base.Image{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if r.Context == "" {
		return nil, errors.New("no build context given")
	}
	if strings.Contains(r.Context, "://") || r.Context == "-" || strings.HasPrefix(r.Context, "git@") {
		return nil, &Error{fmt.Errorf("build context %q: only directories are supported yet", r.Context), "check it out or unpack it, and name the directory"}
	}
	main, err := buildcontext.Open(ctx, r.Context, buildcontext.Options{Dockerfile: r.Dockerfile})
	if err != nil {
		return nil, err
	}
	s.contexts[effect.MainContext] = main
	for name, value := range r.NamedContexts {
		if isImageContext(value) {
			continue
		}
		if kind, _, found := strings.Cut(value, "://"); found {
			return nil, &Error{fmt.Errorf("build context %q: %s:// is not supported yet", name, kind), "use a directory, docker-image:// or oci-layout://"}
		}
		if name == effect.MainContext {
			return nil, &Error{fmt.Errorf("build context %q: the name is that of the main context", name), "choose another name"}
		}
		c, err := buildcontext.Open(ctx, value, buildcontext.Options{Dockerfile: buildcontext.NoDockerfile})
		if err != nil {
			return nil, fmt.Errorf("build context %q: %w", name, err)
		}
		s.contexts[name] = c
	}
	return s, nil
}

func isImageContext(value string) bool {
	return strings.HasPrefix(value, "docker-image://") || strings.HasPrefix(value, "oci-layout://")
}

// dockerfile reads the Dockerfile and says what to call it.
func (s *sources) dockerfile(ctx context.Context, r Request) (name string, text []byte, err error) {
	if r.Dockerfile != "-" {
		d, err := s.contexts[effect.MainContext].Dockerfile(ctx)
		return d.Name, d.Content, err
	}
	if r.Stdin == nil {
		return "", nil, errors.New("the Dockerfile is to be read from standard input, and there is none")
	}
	text, err = io.ReadAll(io.LimitReader(r.Stdin, maxDockerfile+1))
	if err == nil && len(text) > maxDockerfile {
		err = fmt.Errorf("it has more than %d bytes", maxDockerfile)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read the Dockerfile from standard input: %w", err)
	}
	return "Dockerfile", text, nil
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
	img, err := base.OpenRemote(ctx, b.client, reference, w.platform)
	if err != nil {
		return nil, err
	}
	if got := img.Image.Platform(); !platforms.OnlyStrict(w.platform).Match(platforms.Normalize(got)) && !platforms.Only(w.platform).Match(platforms.Normalize(got)) {
		b.progress().Report(warning(fmt.Sprintf("base image %s is for %s, and %s was asked for", reference, platforms.Format(got), platforms.Format(w.platform))))
	}
	return img, nil
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
