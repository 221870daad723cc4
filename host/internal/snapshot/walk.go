package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// walker goes through a plain directory, directories in parallel, and compares it with a record of it. No symlink is
// followed and no mount entered: what is mounted somewhere counts as what was there before.
type walker struct {
	scanner
	before, after *Record
	// only are the directories that are entered; the others are as they were. nil means all.
	only map[string]bool
	// moved are the times of files that the executor moved, by path.
	moved map[string]shift
	// against says what a file that was changed in the tick of the record counts as.
	against young
	// unsure is set where something was taken for what it was because nobody could look.
	unsure atomic.Bool

	device  uint64 // of the root, which mostly is that of all files
	lock    sync.Mutex
	newest  atomic.Int64
	buffers sync.Pool // of *[]byte
}

// young says what a file counts as that looks as it did, but was changed no earlier than it was recorded.
type young uint8

const (
	youngChanged young = iota
	youngSame
	oldUntouched // changed, and so does one of several names that was moved: nobody tells of the others
)

// shift is a status change time that means the same as an earlier one.
type shift struct{ old, new int64 }

func newWalker(before *Record, opts Options) *walker {
	w := &walker{
		scanner: scanner{opts: opts, spare: make(chan struct{}, opts.workers()), marks: noMarks},
		before:  before, after: &Record{dir: before.dir, devices: slices.Clone(before.devices)},
	}
	w.buffers.New = func() any { b := make([]byte, direntBuffer); return &b }
	return w
}

// noMarks are names that no attribute has: a plain directory is not overlayfs's.
var noMarks = marks{opaque: "\x00", whiteout: "\x00", redirect: "\x00", metacopy: "\x00"}

// run walks. root, if it is not nil, comes to hold what may have changed, with the directories that hold it.
func (w *walker) run(ctx context.Context, root *found) (err error) {
	if w.after.taken, err = fileClock(); err != nil {
		return err
	}
	fd, err := unix.Open(w.before.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: w.before.dir, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Statx_t
	if err := statx(fd, "", unix.AT_EMPTY_PATH, &st); err != nil {
		return &os.PathError{Op: "stat", Path: w.before.dir, Err: err}
	}
	w.device = unix.Mkdev(st.Dev_major, st.Dev_minor)
	if len(w.after.devices) == 0 {
		w.after.devices = append(w.after.devices, w.device)
	}
	if err := w.sign(&w.after.root, &st); err != nil {
		return err
	}
	if w.after.root.dir, err = w.directory(ctx, fd, w.before.root.dir, "", root); err != nil {
		return err
	}
	w.after.newest = w.newest.Load()
	if w.only != nil {
		w.after.newest = max(w.after.newest, w.before.newest)
	}
	return nil
}

// directory compares the entries of an open directory, and all below them, with what it had before.
func (w *walker) directory(ctx context.Context, fd int, before *directory, p string, into *found) (*directory, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	here := &directory{}
	var err error
	if here.files, err = w.names(fd, p); err != nil {
		return nil, err
	}
	old, kept := before.list(), here.files[:0]
	var below []*descent
	for _, f := range here.files {
		for len(old) > 0 && old[0].name < f.name {
			into.show(&found{name: old[0].name, mark: whiteout})
			old = old[1:]
		}
		var was *file
		if len(old) > 0 && old[0].name == f.name {
			was, old = &old[0], old[1:]
		}
		d, err := w.file(fd, &f, was, p, into)
		switch {
		case errors.Is(err, errGone):
			if was != nil {
				into.show(&found{name: f.name, mark: whiteout})
			}
			continue
		case errors.Is(err, errMount):
			w.unsure.Store(true)
			if was == nil {
				continue
			}
			f = *was
		case err != nil:
			return nil, err
		}
		if d != nil {
			d.at = len(kept)
			below = append(below, d)
		}
		kept = append(kept, f)
	}
	for _, f := range old {
		into.show(&found{name: f.name, mark: whiteout})
	}
	here.files = slices.Clip(kept)
	return here, w.descend(ctx, fd, here, below, p, into)
}

// What is not compared.
var (
	errGone  = errors.New("it vanished")
	errMount = errors.New("something is mounted there")
)

// descent is a directory that is still to be entered.
type descent struct {
	at     int // in its directory
	name   string
	child  *found // nil if nothing is shown
	before *directory
	shown  bool // it may have changed itself
}

// file compares one entry. A directory is entered later, by what is returned.
func (w *walker) file(fd int, f *file, was *file, p string, into *found) (*descent, error) {
	var st unix.Statx_t
	switch err := statx(fd, f.name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, &st); {
	case errors.Is(err, unix.ENOENT):
		return nil, errGone
	case err != nil:
		return nil, fmt.Errorf("stat %q: %w", filetree.Join(p, f.name), err)
	case st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0:
		return nil, errMount
	}
	if err := w.sign(f, &st); err != nil {
		return nil, err
	}
	same := was != nil && w.same(f, was, p)
	if !f.isDir() {
		if same || into == nil {
			return nil, nil
		}
		child := &found{name: f.name}
		err := w.entry(fd, child, filetree.Join(p, f.name))
		if errors.Is(err, unix.ENOENT) {
			return nil, errGone
		}
		into.show(child)
		return nil, err
	}
	if was != nil && was.ino == f.ino && w.only != nil && !w.only[filetree.Join(p, f.name)] {
		f.dir = was.dir
		return nil, nil
	}
	d := &descent{name: f.name, shown: !same}
	if was != nil {
		d.before = was.dir
	}
	if into != nil {
		d.child = &found{name: f.name}
		into.show(d.child)
	}
	return d, nil
}

// show adds to what is shown of a directory; of nil nothing is.
func (f *found) show(child *found) {
	if f != nil {
		f.children = append(f.children, child)
	}
}

// same says whether a file is what it was. Of a file that was changed in the tick in which it was recorded nobody knows.
func (w *walker) same(f, was *file, p string) bool {
	if was.ctime >= w.before.taken && w.against != youngSame {
		return false
	}
	if f.signature == was.signature {
		return true
	}
	if w.moved == nil || f.ctime == was.ctime || w.against == oldUntouched && was.nlink > 1 {
		return false
	}
	s, ok := w.moved[filetree.Join(p, f.name)]
	if !ok || s.old != was.ctime || s.new != f.ctime {
		return false
	}
	back := f.signature
	back.ctime = was.ctime
	return back == was.signature
}

// sign notes what the kernel tells of a file.
func (w *walker) sign(f *file, st *unix.Statx_t) error {
	f.signature = signature{
		ino: st.Ino, size: int64(st.Size), mtime: nanoseconds(st.Mtime), ctime: nanoseconds(st.Ctime),
		uid: st.Uid, gid: st.Gid, nlink: st.Nlink, mode: st.Mode,
	}
	for newest := w.newest.Load(); f.ctime > newest && !w.newest.CompareAndSwap(newest, f.ctime); newest = w.newest.Load() {
	}
	if unix.Mkdev(st.Dev_major, st.Dev_minor) == w.device && w.after.devices[0] == w.device {
		return nil
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	var err error
	f.signature.device, err = w.after.deviceOf(st.Dev_major, st.Dev_minor)
	return err
}

func nanoseconds(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }

// descend enters directories, beside each other where there are workers.
func (w *walker) descend(ctx context.Context, fd int, here *directory, below []*descent, p string, into *found) error {
	var helpers errgroup.Group
	for _, d := range below {
		enter := func() error { return w.enter(ctx, fd, &here.files[d.at], d, filetree.Join(p, d.name)) }
		select {
		case w.spare <- struct{}{}:
			helpers.Go(func() error {
				defer func() { <-w.spare }()
				return enter()
			})
		default:
			if err := enter(); err != nil {
				return errors.Join(err, helpers.Wait())
			}
		}
	}
	if err := helpers.Wait(); err != nil {
		return err
	}
	if into == nil {
		return nil
	}
	// Directories that did not change and in which nothing did are not shown.
	into.children = slices.DeleteFunc(into.children, func(f *found) bool { return f.mark == untouched })
	return nil
}

func (w *walker) enter(ctx context.Context, dirfd int, f *file, d *descent, p string) (err error) {
	if len(p) > maxPath {
		return fmt.Errorf("a path below %q is longer than %d bytes", p[:strings.IndexByte(p, '/')], maxPath)
	}
	fd, err := openDirectory(dirfd, d.name)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
		// It vanished, was replaced or was mounted on after it was seen: the next walk tells.
		w.unsure.Store(true)
		f.dir = d.before
		d.hide()
		return nil
	case err != nil:
		return fmt.Errorf("open directory %q: %w", p, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if f.dir, err = w.directory(ctx, fd, d.before, p, d.child); err != nil {
		return err
	}
	if d.child == nil || !d.shown && len(d.child.children) == 0 {
		d.hide()
		return nil
	}
	if err := unix.Fstat(fd, &d.child.stat); err != nil {
		return fmt.Errorf("stat directory %q: %w", p, err)
	}
	return w.xattrs(fd, d.child, p)
}

func (d *descent) hide() {
	if d.child != nil {
		d.child.mark = untouched
	}
}

// openDirectory opens a directory that is no mount.
func openDirectory(dirfd int, name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	for {
		fd, err := unix.Openat2(dirfd, name, &how)
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}
