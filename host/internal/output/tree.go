package output

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Files are the files of an image.
type Files struct {
	Tree *filetree.Tree
	// Root is the directory of the image that is put out; empty: all of it.
	Root string
	// Epoch is the time that all files get; nil: their own.
	Epoch *time.Time
	Note  func(string)
}

// root finds the directory that is put out.
func (f Files) root() (string, *filetree.Node, error) {
	p, n, err := f.Tree.Resolve(filetree.Clean(f.Root), filetree.FollowLast)
	if err != nil {
		return "", nil, fmt.Errorf("src %q: %w", f.Root, err)
	}
	if !n.IsDir() {
		return "", nil, fmt.Errorf("src %q is a %s: name a directory of the image", f.Root, n.Type())
	}
	return p, n, nil
}

func (f Files) note(format string, args ...any) {
	if f.Note != nil {
		f.Note(fmt.Sprintf(format, args...))
	}
}

func (f Files) modTime(e filetree.Entry) time.Time {
	if f.Epoch != nil {
		return *f.Epoch
	}
	return time.Unix(0, e.ModTime)
}

// copyContent writes the content of the regular file n at path p.
func copyContent(ctx context.Context, w io.Writer, p string, n *filetree.Node) (err error) {
	if n.Size() == 0 {
		return nil
	}
	source, ref := n.Source(p)
	if source == nil {
		return fmt.Errorf("read %q: its %d bytes are nowhere", p, n.Size())
	}
	r, err := source.Open(ctx, ref)
	if err != nil {
		return fmt.Errorf("read %q: %w", p, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	written, err := copyContext(ctx, w, io.LimitReader(r, n.Size()+1))
	if err != nil {
		return fmt.Errorf("read %q: %w", p, err)
	}
	if written != n.Size() {
		return fmt.Errorf("read %q: it has not the %d bytes it should have", p, n.Size())
	}
	return nil
}

// WriteTar writes the files as a tar: sorted, without an entry for the root, times in whole seconds, so that the same
// files give the same bytes.
func WriteTar(ctx context.Context, w io.Writer, f Files) error {
	top, _, err := f.root()
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	first := map[any]string{} // the first name of a file
	err = f.Tree.Walk(top, func(p string, n *filetree.Node) (bool, error) {
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		if p == top {
			return true, nil
		}
		h, err := f.header(below(top, p), n)
		if err != nil {
			return false, err
		}
		if name, linked := first[n.FileID()]; linked && !n.IsDir() {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, name, 0
			return false, tw.WriteHeader(h)
		}
		first[n.FileID()] = h.Name
		if err := tw.WriteHeader(h); err != nil {
			return false, fmt.Errorf("write %q: %w", p, err)
		}
		if n.Type() == filetree.Regular {
			return false, copyContent(ctx, tw, p, n)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

// below is p as seen from the directory top.
func below(top, p string) string {
	if top == "" {
		return p
	}
	return p[len(top)+1:]
}

var tarTypes = map[filetree.Type]byte{
	filetree.Regular: tar.TypeReg, filetree.Directory: tar.TypeDir, filetree.Symlink: tar.TypeSymlink,
	filetree.CharDevice: tar.TypeChar, filetree.BlockDevice: tar.TypeBlock, filetree.FIFO: tar.TypeFifo,
}

func (f Files) header(p string, n *filetree.Node) (*tar.Header, error) {
	e := n.Entry(p)
	typ, ok := tarTypes[e.Type]
	if !ok {
		return nil, fmt.Errorf("%q: a %s cannot be put out", p, e.Type)
	}
	h := &tar.Header{
		Typeflag: typ, Name: p, Linkname: e.Link, Size: e.Size, Mode: int64(e.Mode), Uid: int(e.UID), Gid: int(e.GID),
		ModTime: f.modTime(e).Truncate(time.Second), Devmajor: int64(e.Major), Devminor: int64(e.Minor),
	}
	if e.Type == filetree.Directory {
		h.Name += "/"
	}
	for name, value := range e.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
	return h, nil
}
