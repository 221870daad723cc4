package filecopy

import (
	"fmt"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Mkdir is what WORKDIR does to a tree: the directory at path and all of its parents that are missing, mode 0755, owned by
// owner, or by root if that is nil, and dated modTime, in nanoseconds since the epoch. Symlinks on the way are followed inside the tree. There are no
// changes if the directory exists; WORKDIR makes a layer, then an empty one, all the same.
func Mkdir(dst *filetree.Tree, path string, owner *Owner, modTime int64) ([]filetree.Change, error) {
	c := newCanvas(dst, modTime)
	at, err := c.resolve("", filetree.Clean(path))
	if err == nil {
		err = c.mkdirAll(at, maker{perm: 0o755, owner: owner})
	}
	if err != nil {
		return nil, fmt.Errorf("make the directory %q: %w", path, err)
	}
	return c.result()
}
