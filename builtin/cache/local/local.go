// Package local is the cache in a directory: on the machine's disk, or on a volume that CI jobs share.
//
// The directory:
//
//	FORMAT                              the version of all below; a newer one is refused
//	v1/lock                             flocked while entries are removed
//	v1/blobs/sha256/ab/abcd….SIZE       a blob; its name says how long it has to be
//	v1/records/12/1234…                 a record below the SHA-256 of its key: a header with key, length and digest, then the value
//	v1/tmp/NAME, v1/tmp/NAME.lock       what one process is writing; the lock file is flocked as long as it lives
//
// Many processes may use one directory at once and none has to end well. An entry is written below tmp and renamed into
// place when it is complete, so a process that is killed leaves only what [Open] removes. What a crash of the machine cuts
// short has not the length its name says, or not the digest its header says, and is a miss. Nothing is locked to read or
// put; a file's modification time is when it was last used.
//
// A blob offered as a file is cloned where the file system can (FICLONE), else linked, else copied. Of a clone or a link
// only the length is checked: the host computed the digest when it wrote the file. A link shares the file's inode, which
// is safe because the host never writes to a finished blob again, and any change would be found when the host checks the
// digest of what it gets. The file offered then gets the time of last use as well. What is copied has its digest checked
// here.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// Config says where a cache is and how large it may become.
type Config struct {
	Dir string `toml:"dir"`
	// MaxSize in bytes; zero means no limit. Puts that exceed it remove what was not used for longest, but nothing that
	// was used since this process opened the cache.
	MaxSize int64 `toml:"max_size"`
}

// Cache is a cache in a directory.
type Cache struct {
	dir     string
	root    *os.Root // v1
	maxSize int64
	opened  time.Time

	mu      sync.Mutex
	scratch *scratch // made by the first put

	size sizeGuard
}

const (
	formatFile    = "FORMAT"
	formatVersion = "trowel-cache 1"
	versionDir    = "v1"
	// setupPrefix marks a FORMAT file that is being written, so that two processes may set up one directory at once.
	setupPrefix = ".trowel-cache-"
)

// Open opens the cache in a directory, making it if there is none. A directory that holds anything else is refused.
// A cache that cannot be written to can be read; puts to it fail.
func Open(config Config) (*Cache, error) {
	c, err := open(config)
	if err != nil {
		return nil, fmt.Errorf("open cache %q: %w", config.Dir, err)
	}
	return c, nil
}

func open(config Config) (*Cache, error) {
	if config.Dir == "" {
		return nil, errors.New("no directory is given: set dir")
	}
	if config.MaxSize < 0 {
		return nil, fmt.Errorf("max_size %d is negative", config.MaxSize)
	}
	if err := setUp(config.Dir); err != nil {
		return nil, err
	}
	dir, err := os.OpenRoot(config.Dir)
	if err != nil {
		return nil, err
	}
	root, err := dir.OpenRoot(versionDir)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	removeLeftovers(root)
	return &Cache{dir: absolute, root: root, maxSize: config.MaxSize, opened: time.Now()}, nil
}

// setUp makes sure that dir is a cache of a version that this program knows.
func setUp(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing was written through it
	format, err := root.ReadFile(formatFile)
	if errors.Is(err, os.ErrNotExist) {
		if err := mustBeEmpty(root); err != nil {
			return err
		}
		format, err = []byte(formatVersion+"\n"), writeFormat(root)
	}
	if err != nil {
		return err
	}
	if err := checkFormat(string(format)); err != nil {
		return err
	}
	err = root.Mkdir(versionDir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

func checkFormat(format string) error {
	switch line, _, _ := strings.Cut(format, "\n"); {
	case line == formatVersion:
		return nil
	case strings.HasPrefix(line, "trowel-cache "):
		return fmt.Errorf("its format is %q and this program knows %q: use a newer Trowel, or another directory", line, formatVersion)
	default:
		return fmt.Errorf("its file %s is not that of a cache: name another directory", formatFile)
	}
}

// mustBeEmpty refuses a directory in which something else lives.
func mustBeEmpty(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		switch name {
		case "lost+found": // of a volume's root
			continue
		case "work", "mounts", "plugins", "compiled": // where builds work and plugins are installed, which may be there first
			continue
		case formatFile, versionDir: // may have appeared since we looked: another process sets up
			continue
		}
		if strings.HasPrefix(name, setupPrefix) {
			continue
		}
		return fmt.Errorf("the directory holds %q and is no cache: name an empty directory or one that does not exist", name)
	}
	return nil
}

func writeFormat(root *os.Root) error {
	name := setupPrefix + randomName()
	if err := root.WriteFile(name, []byte(formatVersion+"\n"), 0o644); err != nil {
		return errors.Join(err, ignoreNotExist(root.Remove(name)))
	}
	return root.Rename(name, formatFile)
}

// MaxSize is how large the cache may become, in bytes; zero means no limit.
func (c *Cache) MaxSize() int64 { return c.maxSize }

// Close gives up the process's claim on what it was writing. Content that was answered stays readable.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.scratch != nil {
		err = c.scratch.close(c.root)
		c.scratch = nil
	}
	return errors.Join(err, c.root.Close())
}

// touch notes that a file was used now. That fails where the cache is read-only, and then nobody needs it.
func (c *Cache) touch(name string, last time.Time) {
	if last.Before(c.opened) {
		now := time.Now()
		_ = c.root.Chtimes(name, now, now)
	}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Guards: the contract that this package fulfils.
var _ sdk.Cache = (*Cache)(nil)

func checkContext(ctx context.Context) error { return context.Cause(ctx) }
