package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// NoDockerfile as [Options.Dockerfile] says that the Dockerfile is no file of this context: it comes from standard input,
// or the context is a named one. Only the ignore file of the context's root counts then.
const NoDockerfile = "-"

// Options say how to open a context.
type Options struct {
	// Dockerfile is its path, relative to the working directory, as docker's -f. It may lie outside of the context.
	// "" is the file "Dockerfile", or else "dockerfile", in the context's root.
	Dockerfile string
	// IgnoreFile is the path of the ignore file, which then must exist. "" is "<Dockerfile>.dockerignore" beside the
	// Dockerfile or else ".dockerignore" in the context's root, whichever is found first; none need exist.
	IgnoreFile string
	// Still, if it is set, waits until nothing moves the directory about, and keeps it so until release is called. In between
	// no call waits for another.
	Still func() (release func())
	// Workers bounds how many directories and files are read at once; 0 is twice the number of processors.
	Workers int
}

// Context is an open build context. It is safe for concurrent use.
type Context struct {
	dir        string // as given, for messages
	root       *directory
	dockerfile definition
	ignore     *ignoreFile
	workers    int
	still      func() (release func())
	stableIDs  bool // inode numbers say something on this file system
	overlay    bool // but it may give a file another one when it moves

	buffers buffers

	mu      sync.Mutex
	digests map[string]*digestCall // by path
}

// Open opens the directory dir as a build context and reads its ignore file. The caller closes it once nothing of the
// context is read any more.
func Open(ctx context.Context, dir string, o Options) (_ *Context, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := openRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the build context %q: %w", dir, err)
	}
	c := &Context{dir: dir, root: root, workers: o.Workers, still: o.Still, digests: map[string]*digestCall{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.still == nil {
		c.still = func() func() { return func() {} }
	}
	if c.workers <= 0 {
		c.workers = defaultWorkers()
	}
	if c.stableIDs, c.overlay, err = inodesOf(root.fd); err != nil {
		return nil, fmt.Errorf("open the build context %q: %w", dir, err)
	}
	if err := c.locate(o.Dockerfile); err != nil {
		return nil, err
	}
	if c.ignore, err = c.findIgnoreFile(o.IgnoreFile); err != nil {
		return nil, err
	}
	return c, nil
}

// Close releases the context's descriptor. Files that were opened before stay readable.
func (c *Context) Close() error { return c.root.close() }

// Dir is the directory as it was named to [Open].
func (c *Context) Dir() string { return c.dir }

// definition is where the Dockerfile is.
type definition struct {
	shown string // the path for messages; "" where there is none
	path  string // on disk
	// The path below the context's root, if it is there.
	inside string
}

// locate finds out where the Dockerfile is, without reading it.
func (c *Context) locate(named string) error {
	switch named {
	case NoDockerfile:
		return nil
	case "":
		c.dockerfile = c.inRoot("Dockerfile")
		// As buildx does: the lower-case name counts where the other is missing.
		if _, err := c.root.stat("Dockerfile"); errors.Is(err, fs.ErrNotExist) {
			if _, err := c.root.stat("dockerfile"); err == nil {
				c.dockerfile = c.inRoot("dockerfile")
			}
		}
		return nil
	}
	file, err := filepath.Abs(named)
	if err != nil {
		return fmt.Errorf("find the Dockerfile %q: %w", named, err)
	}
	c.dockerfile = definition{shown: named, path: file}
	if rel, ok := c.relative(file); ok {
		c.dockerfile.inside = rel
	}
	return nil
}

func (c *Context) inRoot(name string) definition {
	file := filepath.Join(c.dir, name)
	return definition{shown: file, path: file, inside: name}
}

// relative is a path on disk as a path below the context's root, if it is below it.
func (c *Context) relative(file string) (string, bool) {
	root, err := filepath.Abs(c.dir)
	if err != nil {
		return "", false
	}
	// The directory may be reached under another name; only its links are resolved, for the file itself may be one.
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(file)); err == nil {
		file = filepath.Join(real, filepath.Base(file))
	}
	rel, err := filepath.Rel(root, file)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// inodesOf says whether a file keeps its inode number while nobody replaces it, and whether that may be otherwise when it is
// moved. File systems in user space and network ones may hand out a new one whenever they forget a file.
func inodesOf(fd int) (stable, overlay bool, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false, false, os.NewSyscallError("fstatfs", err)
	}
	switch uint32(st.Type) {
	case unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.SMB_SUPER_MAGIC, 0xff534d42, 0xfe534d42: // the last two: CIFS, SMB2
		return false, false, nil
	}
	return true, st.Type == unix.OVERLAYFS_SUPER_MAGIC, nil
}
