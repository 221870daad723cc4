package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk"
)

const (
	lockFile = "lock"
	// blockSize is what small files are counted as: most file systems allocate no less.
	blockSize = 4096
	// lockRetry is how often a prune looks whether another one is done.
	lockRetry = 50 * time.Millisecond
)

// Scope says how much of a cache a prune may remove whatever its age.
type Scope string

// The scopes of a prune.
const (
	ScopeUnused Scope = ""    // what OlderThan and KeepBytes say
	ScopeAll    Scope = "all" // everything
)

// PruneOptions say what a prune removes. With none of them set it enforces the cache's MaxSize.
type PruneOptions struct {
	Scope     Scope
	OlderThan time.Duration // zero: no limit; else what was not used for that long goes
	KeepBytes int64         // zero: no limit; else the least recently used go until no more than this is left
}

// Freed says what a prune removed.
type Freed struct {
	Entries int
	Bytes   int64
}

// Usage says what a cache holds.
type Usage struct {
	Records, Blobs int
	Bytes          int64
}

// Entry is a record or a blob in the cache.
type Entry struct {
	Key      sdk.Key    // of a record
	Digest   sdk.Digest // of a blob
	Bytes    int64
	LastUsed time.Time
}

// file is an entry as the directory shows it.
type file struct {
	name  string
	bytes int64
	used  time.Time
}

// Usage counts what the cache holds.
func (c *Cache) Usage(ctx context.Context) (Usage, error) {
	files, err := c.files(ctx)
	if err != nil {
		return Usage{}, fmt.Errorf("count cache %q: %w", c.dir, err)
	}
	var u Usage
	for _, f := range files {
		u.Bytes += f.bytes
		if strings.HasPrefix(f.name, recordDir+"/") {
			u.Records++
		} else {
			u.Blobs++
		}
	}
	return u, nil
}

// List returns the entries, the most recently used first. Damaged records are left out.
func (c *Cache) List(ctx context.Context) ([]Entry, error) {
	files, err := c.files(ctx)
	if err != nil {
		return nil, fmt.Errorf("list cache %q: %w", c.dir, err)
	}
	var entries []Entry
	for _, f := range slices.Backward(files) {
		e := Entry{Bytes: f.bytes, LastUsed: f.used}
		if strings.HasPrefix(f.name, recordDir+"/") {
			record, _, err := c.readRecord(f.name)
			if errors.Is(err, sdk.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("list cache %q: %w", c.dir, err)
			}
			e.Key = record.Key
		} else {
			sum, _, _ := strings.Cut(path.Base(f.name), ".")
			e.Digest = sdk.Digest(digestPrefix + sum)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Prune removes what the options say, the least recently used first. What another process reads meanwhile it may miss
// afterwards; nothing is damaged.
func (c *Cache) Prune(ctx context.Context, options PruneOptions) (Freed, error) {
	freed, err := c.prune(ctx, options)
	if err != nil {
		return freed, fmt.Errorf("prune cache %q: %w", c.dir, err)
	}
	return freed, nil
}

func (c *Cache) prune(ctx context.Context, options PruneOptions) (Freed, error) {
	switch {
	case options.Scope != ScopeUnused && options.Scope != ScopeAll:
		return Freed{}, fmt.Errorf("unknown scope %q: use %q or %q", options.Scope, ScopeUnused, ScopeAll)
	case options.KeepBytes < 0:
		return Freed{}, fmt.Errorf("bytes to keep %d is negative", options.KeepBytes)
	case options.OlderThan < 0:
		return Freed{}, fmt.Errorf("age %s is negative", options.OlderThan)
	}
	if options == (PruneOptions{}) {
		options.KeepBytes = c.maxSize
	}
	lock, err := c.lock(ctx)
	if err != nil {
		return Freed{}, err
	}
	defer lock.Close() //nolint:errcheck // only the lock matters
	now := time.Now()
	return c.remove(ctx, options.KeepBytes, func(f file) fate {
		switch {
		case options.Scope == ScopeAll, options.OlderThan > 0 && now.Sub(f.used) > options.OlderThan:
			return goes
		case options.KeepBytes > 0:
			return goesIfFull
		}
		return stays
	})
}

// fate is what a prune does with an entry.
type fate int

const (
	stays fate = iota
	goesIfFull
	goes
)

// remove removes entries, the least recently used first, by their fate; goesIfFull those while more than keep is left.
func (c *Cache) remove(ctx context.Context, keep int64, decide func(file) fate) (Freed, error) {
	files, err := c.files(ctx)
	if err != nil {
		return Freed{}, err
	}
	var total int64
	for _, f := range files {
		total += f.bytes
	}
	var freed Freed
	for _, f := range files {
		if err := checkContext(ctx); err != nil {
			return freed, err
		}
		if d := decide(f); d == stays || (d == goesIfFull && total <= keep) {
			continue
		}
		if err := ignoreNotExist(c.root.Remove(f.name)); err != nil {
			return freed, c.explain(err)
		}
		total -= f.bytes
		freed.Bytes += f.bytes
		freed.Entries++
	}
	return freed, nil
}

// files lists all entries, the least recently used first.
func (c *Cache) files(ctx context.Context) ([]file, error) {
	var files []file
	for _, dir := range []string{recordDir, blobDir} {
		err := fs.WalkDir(c.root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
			if err := errors.Join(ignoreNotExist(err), checkContext(ctx)); err != nil {
				return err
			}
			if d == nil || d.IsDir() {
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return ignoreNotExist(err)
			}
			files = append(files, file{name: name, bytes: onDisk(info.Size()), used: info.ModTime()})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		if c := a.used.Compare(b.used); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return files, nil
}

func onDisk(size int64) int64 { return max(1, (size+blockSize-1)/blockSize) * blockSize }

// lock waits until no other process prunes.
func (c *Cache) lock(ctx context.Context) (*os.File, error) {
	for {
		lock, err := c.tryLock()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for another prune: %w", context.Cause(ctx))
		case <-time.After(lockRetry):
		}
	}
}

func (c *Cache) tryLock() (*os.File, error) {
	lock, err := c.root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, c.explain(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}
