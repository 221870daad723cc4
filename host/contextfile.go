package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/buildcontext"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/kept"
)

// unpack makes a context of a file.
func (b *build) unpack(ctx context.Context, tree *filetree.Tree, name string) (*buildcontext.Fixed, error) {
	c, err := buildcontext.Unpack(ctx, tree, name, b.dockerfilePath(), b.work.dir)
	if err != nil {
		return nil, fmt.Errorf("read the build context: %w", err)
	}
	if b.ContextDir == "" || c.Kind() != buildcontext.Archive {
		return c, nil
	}
	within, err := c.Within(b.ContextDir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the build context: %w", err), c.Close())
	}
	return within, nil
}

// openStdin reads standard input: an archive, or a Dockerfile without a context.
func (b *build) openStdin(ctx context.Context) (buildContext, error) {
	if b.Stdin == nil {
		return nil, errors.New("the build context is to be read from standard input, and there is none")
	}
	tree, err := b.keepStream(ctx, b.Stdin)
	if err != nil {
		return nil, fmt.Errorf("read the build context from standard input: %w", err)
	}
	c, err := b.unpack(ctx, tree, fetchedName)
	if err != nil || c.Kind() == buildcontext.Archive {
		return c, err
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	if b.Dockerfile != "" {
		return nil, &Error{
			errors.New("standard input is no archive, so it is the Dockerfile, and another one is named with -f"),
			"leave -f out, or give the context as a tar archive",
		}
	}
	if b.text, err = read(ctx, tree, fetchedName); err != nil {
		return nil, fmt.Errorf("read the Dockerfile from standard input: %w", err)
	}
	return buildcontext.Entire(filetree.Empty(), ""), nil
}

// keepStream puts a stream into the working store and returns a tree with nothing else in it.
func (b *build) keepStream(ctx context.Context, r io.Reader) (*filetree.Tree, error) {
	w, err := b.store.Create(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(w, r, make([]byte, 256<<10)); err != nil {
		return nil, errors.Join(err, w.Abort(err))
	}
	written, err := w.Commit(ctx)
	if err != nil {
		return nil, err
	}
	f := kept.Of(written)
	e, err := f.Entry(ctx, fetchedName)
	if err != nil {
		return nil, err
	}
	return f.Tree(e)
}

// openArchive opens a file that is an archive. A pipe can be read once only and is kept first; one that nobody writes to is
// empty, and not waited for.
func (b *build) openArchive(ctx context.Context, name string) (_ buildContext, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open the build context: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var tree *filetree.Tree
	release := f.Close
	switch {
	case info.Mode().IsRegular():
		tree, err = localTree(f, info.Size())
	case info.Mode()&fs.ModeNamedPipe != 0:
		tree, err = b.keepStream(ctx, f)
		release = func() error { return nil }
		err = errors.Join(err, f.Close())
	default: // a device may have no end
		err = errors.New("it is neither a directory nor a file nor a pipe")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the build context %q: %w", name, err), release())
	}
	c, err := b.unpack(ctx, tree, fetchedName)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	if c.Kind() != buildcontext.Archive {
		err := fmt.Errorf("build context %q: it is neither a directory nor a tar archive", name)
		return nil, errors.Join(&Error{err, fmt.Sprintf("to build a Dockerfile without a context: trowel build - < %s", filepath.Base(name))}, c.Close(), release())
	}
	return &withFile{c, release}, nil
}

// withFile is a context whose archive is read in place.
type withFile struct {
	*buildcontext.Fixed
	release func() error
}

// Close closes the archive too.
func (w *withFile) Close() error { return errors.Join(w.Fixed.Close(), w.release()) }

// localFile is the [filetree.Source] of one file that stays open.
type localFile struct{ file *os.File }

// Open is [filetree.Source]'s.
func (l *localFile) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	return struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(l.file, 0, ref.Size), io.NopCloser(nil)}, nil
}

func localTree(f *os.File, size int64) (*filetree.Tree, error) {
	e := filetree.Entry{Path: fetchedName, Type: filetree.Regular, Mode: 0o600, Size: size}
	return filetree.Empty().ApplyChanges([]filetree.Change{{
		Entry: e, Source: &localFile{f}, From: filetree.Ref{Path: fetchedName, Size: size},
	}})
}
