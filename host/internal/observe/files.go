// Package observe gives the files of a build to instruction plugins, and remembers what each of them read: files,
// listings, and what was not there. A plan can be used again while all of it is as it was.
package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/sdk"
)

// maxFile bounds a file that is read whole.
const maxFile = 16 << 20

// Trees find the tree of a root; each is asked when something of it is read first.
type Trees map[sdk.Root]func(ctx context.Context) (*filetree.Tree, error)

// Files is a build's files as plugins see them. Links are followed inside their root, and what is neither a regular file
// nor a directory cannot be read.
type Files struct{ trees Trees }

// NewFiles gives the files of trees.
func NewFiles(trees Trees) *Files { return &Files{trees} }

var _ sdk.FileSystem = (*Files)(nil)

// find resolves a name.
func (f *Files) find(ctx context.Context, root sdk.Root, name string) (string, *filetree.Node, error) {
	tree, ok := f.trees[root]
	if !ok {
		return "", nil, &sdk.Error{Code: sdk.CodeUnsupported, Message: fmt.Sprintf("there is no tree %q", root)}
	}
	if strings.ContainsRune(name, 0) || len(name) > 4096 {
		return "", nil, &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf("%.100q is no path", name)}
	}
	t, err := tree(ctx)
	if err != nil {
		return "", nil, err
	}
	at, n, err := t.Resolve(name, filetree.FollowLast)
	if err != nil {
		if errors.Is(err, filetree.ErrNotExist) || errors.Is(err, filetree.ErrNotDirectory) || errors.Is(err, filetree.ErrTooManyLinks) {
			return "", nil, &sdk.Error{Code: sdk.CodeNotFound, Message: err.Error()}
		}
		return "", nil, err
	}
	return at, n, nil
}

// ReadFile is [sdk.FileSystem]'s.
func (f *Files) ReadFile(ctx context.Context, root sdk.Root, name string) (_ []byte, err error) {
	at, n, err := f.find(ctx, root, name)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Type() != filetree.Regular:
		return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf("%q is a %s", name, n.Type())}
	case n.Size() > maxFile:
		return nil, &sdk.Error{Code: sdk.CodeLimit, Message: fmt.Sprintf("%q has %d bytes: at most %d can be read", name, n.Size(), maxFile)}
	}
	source, ref := n.Source(at)
	if source == nil {
		return nil, nil
	}
	r, err := source.Open(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// Stat is [sdk.FileSystem]'s.
func (f *Files) Stat(ctx context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	_, n, err := f.find(ctx, root, name)
	if err != nil {
		return sdk.FileInfo{}, err
	}
	info := infoOf(n)
	info.Name = filetree.Base(filetree.Clean(name))
	return info, nil
}

// ReadDir is [sdk.FileSystem]'s.
func (f *Files) ReadDir(ctx context.Context, root sdk.Root, name string) ([]sdk.FileInfo, error) {
	_, n, err := f.find(ctx, root, name)
	if err != nil {
		return nil, err
	}
	if !n.IsDir() {
		return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf("%q is a %s", name, n.Type())}
	}
	infos := make([]sdk.FileInfo, 0, n.Len())
	for c := range n.Children() {
		infos = append(infos, infoOf(c))
	}
	return infos, nil
}

// infoOf leaves out what must not decide what is built: times, owners, devices, and the sizes of directories.
func infoOf(n *filetree.Node) sdk.FileInfo {
	info := sdk.FileInfo{Name: n.Name(), Mode: fs.FileMode(n.Mode() & 0o777)}
	switch n.Type() {
	case filetree.Regular:
		info.Size = n.Size()
	case filetree.Directory:
		info.Mode |= fs.ModeDir
	case filetree.Symlink:
		info.Mode |= fs.ModeSymlink
	case filetree.FIFO:
		info.Mode |= fs.ModeNamedPipe
	default:
		info.Mode |= fs.ModeDevice
	}
	return info
}
