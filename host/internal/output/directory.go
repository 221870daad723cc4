package output

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Existing says what happens to files of a directory that the image does not have.
type Existing string

// The treatments of existing files.
const (
	ExistingKeep   Existing = "copy"   // the default
	ExistingDelete Existing = "delete" // the directory becomes what the image holds
)

// WriteDirectory writes the files into a directory, making it if there is none. A directory that both have keeps its
// entries; anything else of the same name is replaced, each file at once. Nothing is followed: every name is looked up in
// the directory that was opened for it, so that no symlink, of the image or of what was there, leads outside.
//
// Root keeps the owners that the image says; everybody else becomes the owner of all.
func WriteDirectory(ctx context.Context, dest string, f Files, existing Existing) (err error) {
	top, n, err := f.root()
	if err != nil {
		return err
	}
	absolute, err := filepath.Abs(dest)
	if err != nil {
		return err
	}
	if absolute == "/" {
		return errors.New(`the directory is "/": name another one`)
	}
	if err := os.MkdirAll(absolute, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(absolute)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	w := directoryWriter{files: f, top: top, root: root, fd: int(dir.Fd()), existing: existing, first: map[any]string{}}
	if err := w.fill(ctx, dir, top, n); err != nil {
		return err
	}
	w.report()
	return nil
}

type directoryWriter struct {
	files    Files
	top      string // the directory of the image that is put out
	root     *os.Root
	fd       int // of root
	existing Existing
	first    map[any]string // the first name of a file, below root

	disowned, unmade, bare int // files whose owner could not be set, devices not made, files without their xattrs
}

func (w *directoryWriter) report() {
	if w.disowned > 0 {
		w.files.note("%d files belong to uid %d and not to whom the image says: only root can give files away", w.disowned, os.Geteuid())
	}
	if w.unmade > 0 {
		w.files.note("%d devices were left out: only root can make them", w.unmade)
	}
	if w.bare > 0 {
		w.files.note("%d files lost their capabilities: only root can set them, and not on every file system", w.bare)
	}
}

// fill writes the entries of the image's directory n, at path p, into dir.
func (w *directoryWriter) fill(ctx context.Context, dir *os.File, p string, n *filetree.Node) error {
	for c := range n.Children() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := w.place(ctx, dir, filetree.Join(p, c.Name()), c); err != nil {
			return err
		}
	}
	if w.existing != ExistingDelete {
		return nil
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if n.Child(name) == nil {
			if err := w.root.RemoveAll(filetree.Join(w.below(p), name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// below is p as a path below root.
func (w *directoryWriter) below(p string) string {
	if p == w.top {
		return ""
	}
	return below(w.top, p)
}

func (w *directoryWriter) place(ctx context.Context, dir *os.File, p string, n *filetree.Node) error {
	if !n.IsDir() {
		if err := w.replace(ctx, dir, p, n); err != nil {
			return fmt.Errorf("write %q: %w", p, err)
		}
		return nil
	}
	sub, err := w.enter(dir, n.Name())
	if err != nil {
		return fmt.Errorf("write directory %q: %w", p, err)
	}
	if err := w.fill(ctx, sub, p, n); err != nil {
		return errors.Join(err, sub.Close())
	}
	e := n.Entry(p)
	err = w.dress(int(sub.Fd()), e)
	if err == nil {
		err = unix.UtimesNanoAt(int(dir.Fd()), n.Name(), w.times(e), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err := errors.Join(err, sub.Close()); err != nil {
		return fmt.Errorf("write directory %q: %w", p, err)
	}
	return nil
}

// enter opens a directory, making it if there is none, in place of anything that is none.
func (w *directoryWriter) enter(dir *os.File, name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), name, flags, 0)
	if err == nil {
		// What is in it can only be changed with these; its own mode comes when it is filled.
		_ = unix.Fchmod(fd, 0o700)
		return os.NewFile(uintptr(fd), name), nil
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		err = unix.Unlinkat(int(dir.Fd()), name, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil {
		return nil, err
	}
	if fd, err = unix.Openat(int(dir.Fd()), name, flags, 0); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// replace makes a file under a temporary name and renames it to its own.
func (w *directoryWriter) replace(ctx context.Context, dir *os.File, p string, n *filetree.Node) (err error) {
	temporary := ".trowel-" + rand.Text()
	made, err := w.create(ctx, int(dir.Fd()), temporary, p, n)
	defer func() {
		// The rename of one link onto another of the same file leaves both.
		if gone := unix.Unlinkat(int(dir.Fd()), temporary, 0); err == nil && gone != nil && !errors.Is(gone, unix.ENOENT) {
			err = gone
		}
	}()
	if err != nil || !made {
		return err
	}
	err = unix.Renameat(int(dir.Fd()), temporary, int(dir.Fd()), n.Name())
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		if err := w.root.RemoveAll(w.below(p)); err != nil {
			return err
		}
		err = unix.Renameat(int(dir.Fd()), temporary, int(dir.Fd()), n.Name())
	}
	if err == nil {
		if _, linked := w.first[n.FileID()]; !linked {
			w.first[n.FileID()] = w.below(p)
		}
	}
	return err
}

// create makes the file with all that belongs to it, under a name that is free. It answers false for what cannot be made
// here and was left out.
func (w *directoryWriter) create(ctx context.Context, dir int, name, p string, n *filetree.Node) (bool, error) {
	if first, linked := w.first[n.FileID()]; linked {
		if done, err := w.link(dir, name, first); done || err != nil {
			return done, err
		}
	}
	e := n.Entry(p)
	var err error
	switch e.Type {
	case filetree.Regular:
		err = w.createRegular(ctx, dir, name, e, n)
	case filetree.Symlink:
		if err = unix.Symlinkat(e.Link, dir, name); err == nil {
			err = w.own(e, unix.Fchownat(dir, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW))
		}
	case filetree.FIFO, filetree.CharDevice, filetree.BlockDevice:
		var made bool
		if made, err = w.createSpecial(dir, name, e); err == nil && !made {
			return false, nil
		}
	default:
		return false, fmt.Errorf("a %s cannot be put out", e.Type)
	}
	if err != nil {
		return false, err
	}
	return true, unix.UtimesNanoAt(dir, name, w.times(e), unix.AT_SYMLINK_NOFOLLOW)
}

// link makes another name for a file that was written before; false where the file system has no links.
func (w *directoryWriter) link(dir int, name, first string) (bool, error) {
	parent, err := unix.Openat2(w.fd, "./"+filetree.Parent(first), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return false, err
	}
	err = unix.Linkat(parent, filetree.Base(first), dir, name, 0)
	if err := unix.Close(parent); err != nil {
		return false, err
	}
	if errors.Is(err, unix.EMLINK) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	}
	return err == nil, err
}

func (w *directoryWriter) createRegular(ctx context.Context, dir int, name string, e filetree.Entry, n *filetree.Node) error {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	err = copyContent(ctx, f, e.Path, n)
	if err == nil {
		err = w.dress(fd, e)
	}
	return errors.Join(err, f.Close())
}

func (w *directoryWriter) createSpecial(dir int, name string, e filetree.Entry) (bool, error) {
	kind := map[filetree.Type]uint32{
		filetree.FIFO: unix.S_IFIFO, filetree.CharDevice: unix.S_IFCHR, filetree.BlockDevice: unix.S_IFBLK,
	}[e.Type]
	err := unix.Mknodat(dir, name, kind|0o600, int(unix.Mkdev(e.Major, e.Minor)))
	if errors.Is(err, unix.EPERM) {
		w.unmade++
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := w.own(e, unix.Fchownat(dir, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW)); err != nil {
		return false, err
	}
	// The name is a fresh one in a directory that is ours, so there is no symlink to follow.
	return true, unix.Fchmodat(dir, name, uint32(e.Mode), 0)
}

// dress sets owner, mode and extended attributes, in the order in which none undoes another.
func (w *directoryWriter) dress(fd int, e filetree.Entry) error {
	if err := w.own(e, unix.Fchown(fd, int(e.UID), int(e.GID))); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, uint32(e.Mode)); err != nil {
		return err
	}
	for name, value := range e.Xattrs {
		switch err := unix.Fsetxattr(fd, name, []byte(value), 0); {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP):
			w.bare++
		case err != nil:
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// own takes the result of an attempt to give a file away: who is not root, or root of a user namespace that has no such
// user, keeps it.
func (w *directoryWriter) own(e filetree.Entry, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		w.disowned++
		return nil
	}
	if err != nil {
		return fmt.Errorf("give to %d:%d: %w", e.UID, e.GID, err)
	}
	return nil
}

func (w *directoryWriter) times(e filetree.Entry) []unix.Timespec {
	t := unix.NsecToTimespec(w.files.modTime(e).UnixNano())
	return []unix.Timespec{t, t}
}
