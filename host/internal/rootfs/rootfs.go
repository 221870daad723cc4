// Package rootfs makes a stage's file tree real on disk, for processes to run in.
//
// Each layer is unpacked into a directory of its own, in the form that overlayfs stacks: an [Unpacker] does that from one
// pass over the layer, knowing nothing of the layers below, so that several layers can be unpacked at once. Where a layer
// cannot be unpacked alone ([ErrEntangled]) or there is no overlayfs, [UnpackMerged] makes one directory of all layers.
//
// What a layer says is not trusted. Directories are reached by descriptor and no symlink is ever followed: where a path
// leads through one is decided by the [filetree.Tree], not by the disk.
package rootfs

import (
	"errors"
	"runtime"
)

// ErrEntangled says that a layer cannot be unpacked without the layers below it: it has a hardlink to a file of theirs, or
// a path that leads through a symlink. [UnpackMerged] unpacks such layers.
var ErrEntangled = errors.New("layer depends on the files of the layers below it")

// Form says where overlayfs finds its marks.
type Form int

// The forms of an overlay layer on disk.
const (
	TrustedXattrs Form = iota // "trusted.overlay.", what overlayfs reads unless told otherwise
	UserXattrs                // "user.overlay.", for mounts with the option userxattr in a user namespace
)

// Prefix is what the names of overlayfs's own extended attributes start with.
func (f Form) Prefix() string {
	if f == UserXattrs {
		return "user.overlay."
	}
	return "trusted.overlay."
}

// Options say how trees are kept on disk. The zero value is right for root without a user namespace.
type Options struct {
	Form   Form
	Owners Owners
	// Workers is how many goroutines write small files; 0 means one for each processor.
	Workers int
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// Loss is something of the tree that could not be put on disk. The tree still has it, and so has the image; only a process
// that runs in the rootfs does not see it.
type Loss struct {
	Path string
	What string // "device node", "security.capability"
	Err  error
}
