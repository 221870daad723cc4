package filecopy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// inlineFiles is the [filetree.Source] of the files that a Dockerfile holds. A file's Ref names it by its place.
type inlineFiles struct {
	contents []string
}

// tree is a tree with nothing but one file, under its name.
func (s *inlineFiles) tree(f effect.File, modTime int64) (*filetree.Tree, string, error) {
	name := baseName(f.Name)
	if name == "" {
		return nil, "", fmt.Errorf("the name of an inline file, %q, is empty", f.Name)
	}
	e := filetree.Entry{
		Path: name, Type: filetree.Regular, Mode: 0o644, Size: int64(len(f.Content)), ModTime: modTime,
		Digest: sha256.Sum256([]byte(f.Content)),
	}
	change := filetree.Change{Entry: e}
	if e.Size > 0 {
		change.Source = s
		change.From = filetree.Ref{Path: fmt.Sprint(len(s.contents)), Size: e.Size, Digest: e.Digest}
		s.contents = append(s.contents, f.Content)
	}
	tree, err := filetree.Empty().ApplyChanges([]filetree.Change{change})
	return tree, name, err
}

// Open implements [filetree.Source].
func (s *inlineFiles) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	var i int
	if _, err := fmt.Sscanf(ref.Path, "%d", &i); err != nil || i < 0 || i >= len(s.contents) {
		return nil, fmt.Errorf("no inline file %q", ref.Path)
	}
	return io.NopCloser(strings.NewReader(s.contents[i])), nil
}

var _ filetree.Source = (*inlineFiles)(nil)
