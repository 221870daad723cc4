package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filecopy"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Fixed is a build context that is indexed as a whole: an archive, a commit, a file from elsewhere. Nothing of it is ever
// unpacked to disk. Its files keep their owners, and no ignore file hides any of them, as with BuildKit.
type Fixed struct {
	tree       *filetree.Tree
	dockerfile string
	kind       Kind
	dated      time.Time // zero: by its files
	buffers    buffers
	close      func() error
}

// Kind says what a file turned out to be.
type Kind string

// The kinds of file.
const (
	Archive   Kind = "archive"
	PlainFile Kind = "file"
)

// Entire is the build context that consists of a tree. dockerfile is the path of the Dockerfile in it; "" is "Dockerfile", or
// else "dockerfile".
func Entire(tree *filetree.Tree, dockerfile string) *Fixed {
	return &Fixed{tree: tree, dockerfile: dockerfile, kind: Archive, close: func() error { return nil }}
}

// Unpack is the build context that a file makes, named by its path in a tree: what an archive holds, or the file itself if it
// is none. dir is for temporary files. The archive is not trusted: see [filecopy.FindArchives].
func Unpack(ctx context.Context, tree *filetree.Tree, file, dockerfile, dir string) (*Fixed, error) {
	sources := []filecopy.Source{{Tree: tree, Paths: []string{file}, Unpack: effect.UnpackAlways}}
	archives, err := filecopy.FindArchives(ctx, sources, filecopy.ArchiveOptions{Dir: dir, Hashing: filecopy.HashNow})
	if err != nil {
		return nil, err
	}
	f := &Fixed{dockerfile: dockerfile, kind: PlainFile, close: archives.Close}
	if archives.Len() > 0 {
		f.kind = Archive
	}
	changes, err := filecopy.Plan(filetree.Empty(), filecopy.Spec{Sources: sources, Dest: "/", Archives: archives})
	if err == nil {
		f.tree, err = filetree.Empty().ApplyChanges(changes)
	}
	if err != nil {
		return nil, errors.Join(err, archives.Close())
	}
	return f, nil
}

// Within is the context that a directory of f makes, which takes its place.
func (f *Fixed) Within(dir string) (*Fixed, error) {
	at, node, err := f.tree.Resolve(filetree.Clean(dir), filetree.FollowLast)
	if err == nil && node.Type() != filetree.Directory {
		err = fmt.Errorf("it is a %s", node.Type())
	}
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", dir, err)
	}
	literal := strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)
	changes, err := filecopy.Plan(filetree.Empty(), filecopy.Spec{
		Sources: []filecopy.Source{{Tree: f.tree, Paths: []string{literal.Replace(at)}}}, Dest: "/",
	})
	if err != nil {
		return nil, err
	}
	within := &Fixed{dockerfile: f.dockerfile, kind: f.kind, dated: f.dated, close: f.close}
	within.tree, err = filetree.Empty().ApplyChanges(changes)
	return within, err
}

// Kind says whether the context was an archive.
func (f *Fixed) Kind() Kind { return f.kind }

// Close releases what the context takes on disk.
func (f *Fixed) Close() error { return f.close() }

// Tree is the whole index, whatever is wanted.
func (f *Fixed) Tree(context.Context, []string) (*filetree.Tree, error) { return f.tree, nil }

// Digests is [Context.Digests] for files of which none is remembered.
func (f *Fixed) Digests(ctx context.Context, changes []filetree.Change) error {
	return digests(ctx, changes, defaultWorkers(), f.buffers.hash)
}

// Missing has nothing to add to what the tree tells.
func (f *Fixed) Missing(context.Context, string) error { return nil }

// Dated is the context with a time: that of a commit, or what a web server says.
func (f *Fixed) Dated(at time.Time) *Fixed {
	f.dated = at
	return f
}

// Time is when the context was made: as it was dated, or else the latest time of a regular file in it, as BuildKit reads
// SOURCE_DATE_EPOCH=context.
func (f *Fixed) Time() (time.Time, bool) {
	if !f.dated.IsZero() {
		return f.dated, true
	}
	var newest time.Time
	found := false
	_ = f.tree.Walk("", func(p string, n *filetree.Node) (bool, error) { // visit never fails
		if n.Type() == filetree.Regular {
			if at := time.Unix(0, n.Entry(p).ModTime); !found || at.After(newest) {
				newest, found = at, true
			}
		}
		return true, nil
	})
	return newest, found
}

// Dockerfile reads the Dockerfile. An absolute path is a file of the user's own, outside of the context.
func (f *Fixed) Dockerfile(ctx context.Context) (Dockerfile, error) {
	if filepath.IsAbs(f.dockerfile) {
		file, err := os.Open(f.dockerfile)
		if err != nil {
			return Dockerfile{}, fmt.Errorf("read the Dockerfile: %w", err)
		}
		content, err := readAll(file, isReadable)
		if err != nil {
			return Dockerfile{}, fmt.Errorf("read the Dockerfile %q: %w", f.dockerfile, err)
		}
		return Dockerfile{Name: f.dockerfile, Content: content}, nil
	}
	name := filetree.Clean(f.dockerfile)
	if name == "" {
		name = "Dockerfile"
		if _, _, err := f.tree.Resolve(name, filetree.FollowLast); errors.Is(err, filetree.ErrNotExist) {
			if _, _, err := f.tree.Resolve("dockerfile", filetree.FollowLast); err == nil {
				name = "dockerfile"
			}
		}
	}
	content, err := f.read(ctx, name)
	if err != nil {
		return Dockerfile{}, fmt.Errorf("read the Dockerfile %q of the build context: %w", name, err)
	}
	return Dockerfile{Name: name, Content: content}, nil
}

// read reads a small file.
func (f *Fixed) read(ctx context.Context, name string) (_ []byte, err error) {
	at, node, err := f.tree.Resolve(name, filetree.FollowLast)
	if errors.Is(err, filetree.ErrNotExist) {
		return nil, errors.New("not found; name it with -f")
	}
	if err != nil {
		return nil, err
	}
	switch {
	case node.Type() != filetree.Regular:
		return nil, fmt.Errorf("it is a %s", node.Type())
	case node.Size() > maxDefinition:
		return nil, fmt.Errorf("larger than %d MiB", maxDefinition>>20)
	case node.Size() == 0:
		return []byte{}, nil
	}
	source, ref := node.Source(at)
	r, err := source.Open(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	content := make([]byte, node.Size())
	_, err = io.ReadFull(r, content)
	return content, err
}
