package filecopy

import (
	"fmt"
	"strconv"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Directory is a directory to be made.
type Directory struct {
	Path    string
	Owner   *Owner // nil is root
	Mode    string // of the directory itself, octal; "" is 0755, which is what its parents have
	ModTime int64  // nanoseconds since the epoch
}

// Mkdir is what WORKDIR does to a tree: it makes the directory and all of its parents that are missing. Symlinks on the way
// are followed inside the tree. There are no changes if the directory exists; WORKDIR makes a layer, then an empty one, all
// the same.
func Mkdir(dst *filetree.Tree, d Directory) ([]filetree.Change, error) {
	perm, without := uint64(0o755), uint16(0)
	if d.Mode != "" {
		without = filetree.SetGID // the mode is meant as it is written
		var err error
		if perm, err = strconv.ParseUint(d.Mode, 8, 12); err != nil {
			return nil, fmt.Errorf("make the directory %q: mode %q is no octal number up to 07777", d.Path, d.Mode)
		}
	}
	c := newCanvas(dst, d.ModTime)
	at, err := c.resolve("", filetree.Clean(d.Path))
	if err == nil {
		err = c.mkdirAll(filetree.Parent(at), maker{perm: 0o755, owner: d.Owner, without: without})
	}
	if err == nil {
		err = c.mkdirAll(at, maker{perm: uint16(perm), owner: d.Owner, without: without})
	}
	if err != nil {
		return nil, fmt.Errorf("make the directory %q: %w", d.Path, err)
	}
	return c.result()
}
