package cachemount

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	infoName = "info.json"
	maxInfo  = 64 << 10
)

// Info is what is known of an instance beside its files.
type Info struct {
	ID string `json:"id"` // with its namespace
	// Kept tells the content that is in the cache backends.
	Kept string `json:"kept,omitempty"`
}

// readInfo reads what is known of an instance; what cannot be read is not known.
func readInfo(dir *os.File) Info {
	var i Info
	fd, err := unix.Openat(int(dir.Fd()), infoName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return i
	}
	f := os.NewFile(uintptr(fd), infoName)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxInfo))
	if err != nil || json.Unmarshal(text, &i) != nil {
		return Info{}
	}
	return i
}

func writeInfo(dir *os.File, i Info) (err error) {
	text, err := json.Marshal(i)
	if err != nil {
		return err
	}
	next := infoName + ".new"
	fd, err := unix.Openat(int(dir.Fd()), next, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", infoName, err)
	}
	f := os.NewFile(uintptr(fd), infoName)
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return unix.Renameat(int(dir.Fd()), next, int(dir.Fd()), infoName)
}

// SetKept notes which content of the instance is in the cache backends.
func (in *Instance) SetKept(kept string) error {
	in.Info.Kept = kept
	return writeInfo(in.lock, in.Info)
}

// Entry is an instance as a user sees it.
type Entry struct {
	ID       string
	Bytes    int64
	LastUsed time.Time

	name string
}

// List lists the instances, the least recently used first.
func (s *Store) List(ctx context.Context) ([]Entry, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list cache mounts: %w", err)
	}
	var all []Entry
	for _, f := range files {
		if !f.IsDir() || strings.HasPrefix(f.Name(), newName) {
			continue
		}
		path := filepath.Join(s.dir, f.Name())
		e := Entry{name: f.Name()}
		if info, err := f.Info(); err == nil {
			e.LastUsed = info.ModTime()
		}
		if dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
			e.ID = readInfo(dir).ID
			_ = dir.Close()
		}
		if e.Bytes, err = sizeOf(ctx, path); err != nil {
			return nil, fmt.Errorf("measure cache mount %q: %w", e.ID, err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int {
		if c := a.LastUsed.Compare(b.LastUsed); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return all, nil
}

// sizeOf is what a tree takes on disk. Files may come and go meanwhile.
func sizeOf(ctx context.Context, dir string) (total int64, err error) {
	seen := map[[2]uint64]bool{} // files with several names
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil
		}
		id := [2]uint64{st.Dev, st.Ino}
		if d.IsDir() || st.Nlink < 2 || !seen[id] {
			total += st.Blocks * 512
		}
		if !d.IsDir() && st.Nlink > 1 {
			seen[id] = true
		}
		return nil
	})
	return total, err
}

// Scope says how much a prune may remove whatever its age.
type Scope string

// The scopes of a prune.
const (
	ScopeUnused Scope = ""    // what the limits say
	ScopeAll    Scope = "all" // everything that nobody is using
)

// Limits say what a prune removes.
type Limits struct {
	Scope     Scope
	OlderThan time.Duration // zero: no limit; else what was not used for that long
	Keep      int64         // zero: no limit; else the least recently used, until no more than this is left
}

// Freed says what a prune removed.
type Freed struct {
	Entries int
	Bytes   int64
}

// Prune removes instances that nobody is using.
func (s *Store) Prune(ctx context.Context, l Limits) (Freed, error) {
	all, err := s.List(ctx)
	if err != nil {
		return Freed{}, err
	}
	var total int64
	for _, e := range all {
		total += e.Bytes
	}
	var freed Freed
	for _, e := range all {
		old := l.OlderThan > 0 && time.Since(e.LastUsed) > l.OlderThan
		if l.Scope != ScopeAll && !old && (l.Keep == 0 || total <= l.Keep) {
			continue
		}
		removed, err := s.remove(e.name)
		if err != nil {
			return freed, fmt.Errorf("remove cache mount %q: %w", e.ID, err)
		}
		if removed {
			total -= e.Bytes
			freed.Entries++
			freed.Bytes += e.Bytes
		}
	}
	return freed, nil
}

// remove removes an instance unless it is in use: it takes its name first, for whoever waits for it to see.
func (s *Store) remove(name string) (bool, error) {
	lock, err := s.lock(name, unix.LOCK_EX)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	defer lock.Close()
	gone, err := os.MkdirTemp(s.dir, newName)
	if err != nil {
		return false, err
	}
	if err := unix.Rename(filepath.Join(s.dir, name), gone); err != nil { // over the empty directory
		return false, err
	}
	return true, s.discard(filepath.Base(gone))
}
