package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/base"
	"github.com/trowel-build/trowel/host/internal/buildcontext"
	"github.com/trowel-build/trowel/host/internal/download"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// maxDockerfile bounds a Dockerfile that comes from elsewhere than a directory.
const maxDockerfile = 16 << 20

// buildContext is what is open of a build context.
type buildContext interface {
	stage.Context
	Dockerfile(ctx context.Context) (buildcontext.Dockerfile, error)
	Close() error
}

// standard is what "-" names.
const standard = "-"

// openContexts opens the main context and the named ones that are no images.
func (b *build) openContexts(ctx context.Context) error {
	b.sources = &sources{contexts: map[string]buildContext{}, images: map[stage.ImageKey]*base.Image{}}
	switch {
	case b.Context == "":
		return errors.New("no build context given")
	case b.Context == standard && b.Dockerfile == standard:
		return &RequestError{errors.New("standard input cannot be both the build context and the Dockerfile")}
	}
	main, err := b.openMain(ctx, b.Context)
	if err != nil {
		return err
	}
	b.sources.contexts[effect.MainContext] = b.seen(main)
	for _, name := range slices.Sorted(maps.Keys(b.NamedContexts)) {
		value := b.NamedContexts[name]
		if isImageContext(value) {
			continue
		}
		if name == effect.MainContext {
			return &Error{fmt.Errorf("build context %q: the name is that of the main context", name), "choose another name"}
		}
		c, err := b.openNamed(ctx, value)
		if err != nil {
			return fmt.Errorf("build context %q: %w", name, err)
		}
		b.sources.contexts[name] = b.seen(c)
	}
	return nil
}

// seen is a context in the form in which its files are to be seen.
func (b *build) seen(c buildContext) buildContext {
	if b.NormalizeContext {
		return normalized{c}
	}
	return c
}

// normalized is a context without the marks of how it was checked out.
type normalized struct{ buildContext }

// Tree is the context's, normalized.
func (n normalized) Tree(ctx context.Context, wanted []string) (*filetree.Tree, error) {
	tree, err := n.buildContext.Tree(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return buildcontext.Normalize(tree)
}

// forStages are the contexts as stages want them.
func (s *sources) forStages() map[string]stage.Context {
	all := make(map[string]stage.Context, len(s.contexts))
	for name, c := range s.contexts {
		all[name] = c
	}
	return all
}

func isImageContext(value string) bool {
	return strings.HasPrefix(value, "docker-image://") || strings.HasPrefix(value, "oci-layout://")
}

// openMain opens the main context: standard input, a directory, what is elsewhere, or an archive, in this order.
func (b *build) openMain(ctx context.Context, at string) (buildContext, error) {
	if at == standard {
		return b.openStdin(ctx)
	}
	info, err := os.Stat(at)
	switch {
	case err == nil && info.IsDir():
		return buildcontext.Open(ctx, at, buildcontext.Options{Dockerfile: b.dockerfilePath(), Still: b.gate.still})
	case err == nil:
		return b.openArchive(ctx, at)
	}
	if file, ok := strings.CutPrefix(at, "file://"); ok && !isRepository(file) {
		return b.openMain(ctx, file)
	}
	if c, ok, err := b.openElsewhere(ctx, at); ok {
		return c, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{
			fmt.Errorf("build context %q: there is no such directory or archive", download.Shown(at)),
			"name a directory, a tar archive, - for standard input, an http(s) address or a git repository",
		}
	}
	return nil, fmt.Errorf("open the build context %q: %w", at, err)
}

// dockerfilePath is the Dockerfile's path where it is one.
func (b *build) dockerfilePath() string {
	if b.Dockerfile == standard || isWebAddress(b.Dockerfile) {
		return buildcontext.NoDockerfile
	}
	return b.Dockerfile
}

func isWebAddress(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// openNamed opens a named context. A file from elsewhere is not unpacked then, as with BuildKit.
func (b *build) openNamed(ctx context.Context, value string) (buildContext, error) {
	info, err := os.Stat(value)
	switch {
	case err == nil && info.IsDir():
		return buildcontext.Open(ctx, value, buildcontext.Options{Dockerfile: buildcontext.NoDockerfile, Still: b.gate.still})
	case err == nil:
		return b.openArchive(ctx, value)
	}
	if c, ok, err := b.openRepository(ctx, value, namedContext); ok {
		return c, err
	}
	if isWebAddress(value) {
		d, err := b.remotes.downloads.Resolve(ctx, value, "")
		if err != nil {
			return nil, err
		}
		tree, err := d.Tree(ctx, fetchedName)
		if err != nil {
			return nil, err
		}
		return buildcontext.Entire(tree, ""), nil
	}
	if kind, _, found := strings.Cut(value, "://"); found {
		return nil, &Error{fmt.Errorf("%s:// is not supported", kind), "use a directory, an archive, an http(s) address, a git repository, docker-image:// or oci-layout://"}
	}
	return nil, fmt.Errorf("open %q: %w", value, withoutPath(err))
}

func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// fetchedName is what BuildKit calls a build context that it fetched.
const fetchedName = "context"

// openElsewhere opens a context that is not on this machine; ok is false if none is named.
func (b *build) openElsewhere(ctx context.Context, at string) (_ buildContext, ok bool, err error) {
	if c, ok, err := b.openRepository(ctx, at, mainContext); ok {
		return c, true, err
	}
	if !isWebAddress(at) {
		return nil, false, nil
	}
	d, err := b.remotes.downloads.Resolve(ctx, at, "")
	if err != nil {
		return nil, true, err
	}
	tree, err := d.Tree(ctx, fetchedName)
	if err != nil {
		return nil, true, err
	}
	c, err := b.unpack(ctx, tree, fetchedName)
	if err != nil {
		return nil, true, err
	}
	if c.Kind() == buildcontext.Archive {
		if at, ok := d.ModTime(); ok {
			c = c.Dated(at)
		}
		return c, true, nil
	}
	// A Dockerfile alone, which is then the whole context.
	return buildcontext.Entire(tree, fetchedName), true, c.Close()
}

// read reads a small file of a tree.
func read(ctx context.Context, tree *filetree.Tree, name string) ([]byte, error) {
	d, err := buildcontext.Entire(tree, name).Dockerfile(ctx)
	return d.Content, err
}

// dockerfile reads the Dockerfile and says what to call it.
func (b *build) dockerfile(ctx context.Context) (name string, text []byte, err error) {
	switch {
	case b.text != nil:
		return "Dockerfile", b.text, nil
	case isWebAddress(b.Dockerfile):
		d, err := b.remotes.downloads.Resolve(ctx, b.Dockerfile, "")
		if err != nil {
			return "", nil, fmt.Errorf("fetch the Dockerfile: %w", err)
		}
		tree, err := d.Tree(ctx, fetchedName)
		if err != nil {
			return "", nil, fmt.Errorf("fetch the Dockerfile: %w", err)
		}
		text, err = read(ctx, tree, fetchedName)
		return download.Shown(b.Dockerfile), text, err
	case b.Dockerfile != standard:
		d, err := b.sources.contexts[effect.MainContext].Dockerfile(ctx)
		return d.Name, d.Content, err
	case b.Stdin == nil:
		return "", nil, errors.New("the Dockerfile is to be read from standard input, and there is none")
	}
	text, err = io.ReadAll(io.LimitReader(b.Stdin, maxDockerfile+1))
	if err == nil && len(text) > maxDockerfile {
		err = fmt.Errorf("it has more than %d bytes", maxDockerfile)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read the Dockerfile from standard input: %w", err)
	}
	return "Dockerfile", text, nil
}
