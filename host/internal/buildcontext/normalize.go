package buildcontext

import (
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// normalTime is that of all files of a normalized context. Archives of all kinds can hold it; it does not follow
// SOURCE_DATE_EPOCH, so that a layer in a cache is the same for every commit.
var normalTime = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// Normalize gives the files of a tree what git keeps of them, and no more: directories and files that their owner may execute
// have mode 0755, other files 0644, and all the same time. What umask, user and moment a checkout had leaves no trace then.
func Normalize(tree *filetree.Tree) (*filetree.Tree, error) {
	e := filetree.Empty().Edit()
	first := map[any]string{} // the first name of a file
	err := tree.Walk("", func(p string, n *filetree.Node) (bool, error) {
		if name, linked := first[n.FileID()]; linked && !n.IsDir() {
			return false, e.Put(filetree.Entry{Path: p, Type: filetree.Hardlink, Link: name}, nil, filetree.Ref{})
		}
		first[n.FileID()] = p
		x := n.Entry(p)
		x.ModTime = normalTime
		switch {
		case x.Type == filetree.Symlink:
		case x.Type == filetree.Directory, x.Mode&0o100 != 0:
			x.Mode = 0o755
		default:
			x.Mode = 0o644
		}
		source, ref := n.Source(p)
		return true, e.Put(x, source, ref)
	})
	return e.Tree(), err
}
