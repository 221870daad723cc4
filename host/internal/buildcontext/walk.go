package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/moby/patternmatcher"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// found is one entry of a directory on disk.
type found struct {
	name  string
	stat  fileStat
	link  string // target of a symlink
	caps  string // security.capability
	below *listing
	// ignored directories are kept only for what they hold.
	ignored bool
}

// listing is the entries of a directory that are wanted, sorted by name.
type listing struct {
	entries []found
}

// walker reads directories in parallel.
type walker struct {
	root   *directory
	ignore *ignoreFile
	group  *errgroup.Group

	mu     sync.Mutex
	idle   []*reader
	follow []string // where wanted symlinks lead
}

// task is one directory to be read.
type task struct {
	path    string
	wants   wants
	match   patternmatcher.MatchInfo
	ignored bool
	into    *listing
}

// reader is what one goroutine needs to read a directory.
type reader struct {
	matcher *patternmatcher.PatternMatcher // nil if nothing is ignored
	buffer  []byte
	names   []direntry
}

// walk lists what is wanted of the context.
func (c *Context) walk(ctx context.Context, paths []string) (*listing, error) {
	paths = slices.Clone(paths)
	for pass := 0; ; pass++ {
		root, links, err := c.pass(ctx, paths)
		if err != nil {
			return nil, err
		}
		// Wanted symlinks may lead to where no path led yet. After so many passes they are a loop, and whoever copies
		// what they name gets to know.
		known := len(paths)
		for _, p := range links {
			if !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
		if len(paths) == known || pass == maxLinks {
			root.prune()
			return root, nil
		}
	}
}

// pass lists what is wanted of the context but for what is behind symlinks, and says where those lead.
func (c *Context) pass(ctx context.Context, paths []string) (*listing, []string, error) {
	w := &walker{root: c.root, ignore: c.ignore}
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(c.workers)
	root := &listing{}
	w.group.Go(func() error { return w.directory(ctx, task{wants: newWants(paths), into: root}) })
	if err := w.group.Wait(); err != nil {
		return nil, nil, err
	}
	return root, w.follow, nil
}

// directory reads one directory and, in parallel where there are idle workers, what is below it.
func (w *walker) directory(ctx context.Context, t task) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, err := w.reader()
	if err != nil {
		return err
	}
	tasks, err := w.list(r, t)
	w.release(r)
	if err != nil {
		return err
	}
	for _, below := range tasks {
		if w.group.TryGo(func() error { return w.directory(ctx, below) }) {
			continue
		}
		if err := w.directory(ctx, below); err != nil {
			return err
		}
	}
	return nil
}

// list fills the listing of one directory and returns the directories in it that are to be read next.
func (w *walker) list(r *reader, t task) (_ []task, err error) {
	fd, err := w.root.open(t.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		return nil, t.openError(err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := r.readNames(fd, t.wants); err != nil {
		return nil, fmt.Errorf("read directory %q of the build context: %w", t.shown(), err)
	}
	// The listing is filled to its final size first: tasks point into it.
	t.into.entries = make([]found, 0, len(r.names))
	var tasks []task
	for _, e := range r.names {
		below, follow, wanted := t.wants.of(e.name)
		if !wanted {
			continue
		}
		next, keep, err := w.visit(r, fd, t, e)
		if err != nil {
			return nil, err
		}
		if !keep {
			continue
		}
		f := &t.into.entries[len(t.into.entries)-1]
		if f.stat.typ == filetree.Symlink {
			w.leads(t, f.link, follow)
		}
		if f.stat.typ == filetree.Directory && (below.all || len(below.some) > 0) {
			f.below = &listing{}
			next.wants, next.into = below, f.below
			tasks = append(tasks, next)
		}
	}
	return tasks, nil
}

// visit adds an entry to the listing unless it is ignored. The task is for a directory's entries.
func (w *walker) visit(r *reader, fd int, t task, e direntry) (next task, keep bool, err error) {
	next.path = filetree.Join(t.path, e.name)
	if r.matcher != nil {
		if next.ignored, next.match, err = r.matcher.MatchesUsingParentResults(next.path, t.match); err != nil {
			return next, false, fmt.Errorf("match %q against %q: %w", next.path, w.ignore.name, err)
		}
		if next.ignored && !e.mayBeDirectory() {
			return next, false, nil
		}
	}
	f := found{name: e.name, ignored: next.ignored}
	if err := f.stat.read(fd, e.name); err != nil {
		if next.ignored || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) { // deleted since, or never there
			return next, false, nil
		}
		return next, false, fmt.Errorf("stat %q in the build context: %w", next.path, err)
	}
	if next.ignored && (f.stat.typ != filetree.Directory || !w.ignore.mayHoldExceptions(next.path)) {
		return next, false, nil
	}
	switch f.stat.typ {
	case filetree.Symlink:
		if f.link, err = readlinkat(fd, e.name); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return next, false, nil
			}
			return next, false, fmt.Errorf("%q %w", next.path, errChanged)
		}
	case filetree.Regular:
		if f.stat.mode&0o111 != 0 {
			f.caps = capabilities(fd, e.name)
		}
	}
	t.into.entries = append(t.into.entries, f)
	return next, true, nil
}

// leads notes where a symlink in directory t leads for the paths below it.
func (w *walker) leads(t task, link string, below []string) {
	if len(below) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rest := range below {
		target := path.Join("/", link, rest)
		if !strings.HasPrefix(link, "/") {
			target = path.Join("/", t.path, link, rest)
		}
		w.follow = append(w.follow, filetree.Clean(target))
	}
}

func (t task) shown() string {
	if t.path == "" {
		return "."
	}
	return t.path
}

// openError says what an error from opening the directory means.
func (t task) openError(err error) error {
	switch {
	case t.path != "" && (t.ignored || errors.Is(err, unix.ENOENT)):
		return nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%q %w", t.shown(), errChanged)
	case errors.Is(err, unix.EACCES) && t.path != "":
		return fmt.Errorf("read directory %q of the build context: %w; if the build does not need it, add it to %s", t.path, err, ignoreName)
	}
	return fmt.Errorf("read directory %q of the build context: %w", t.shown(), err)
}

func (w *walker) reader() (*reader, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		r := w.idle[n-1]
		w.idle = w.idle[:n-1]
		return r, nil
	}
	m, err := w.ignore.matcher()
	if err != nil {
		return nil, err
	}
	return &reader{matcher: m, buffer: make([]byte, 64<<10)}, nil
}

func (w *walker) release(r *reader) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = append(w.idle, r)
}

// prune removes ignored directories that hold nothing.
func (l *listing) prune() {
	l.entries = slices.DeleteFunc(l.entries, func(f found) bool {
		if f.below != nil {
			f.below.prune()
		}
		return f.ignored && (f.below == nil || len(f.below.entries) == 0)
	})
}
