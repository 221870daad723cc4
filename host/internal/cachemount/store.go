// Package cachemount keeps the directories of cache mounts on this machine, for builds that run one after the other or at
// once, in one process or several.
//
// The directory:
//
//	KEY-N/            an instance of the cache KEY, flocked by whoever uses it: shared, or by one alone
//	KEY-N/data/       what a process sees
//	KEY-N/info.json   what is known of it
//	new-RANDOM/       an instance that is being filled, or one that is being removed
//
// An instance gets its name when it is filled. The lock is on its directory, so that nothing is left to clean up, and
// whoever has locked one makes sure that it still has its name. The directory is the user's alone: what a RUN makes
// set-user-ID in a cache must not be reached by others. Nothing below data is ever followed by this package: processes
// that it does not trust write there.
package cachemount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

const (
	dataName = "data"
	newName  = "new-"
	// retry is how often a locked cache that is in use is asked for again.
	retry = 50 * time.Millisecond
)

// Store is a directory of caches.
type Store struct {
	dir string

	making sync.Map // by key: *sync.Mutex, so that a process fills a cache once
}

// Open opens the directory, making it if there is none.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open cache mounts: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, fmt.Errorf("open cache mounts %q: %w", dir, err)
	}
	if st.Mode != unix.S_IFDIR|0o700 || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("open cache mounts: %q is not a directory of this user's alone", dir)
	}
	s := &Store{dir: dir}
	s.sweep()
	return s, nil
}

// Instance is a cache that is in use.
type Instance struct {
	// Data is the directory that a process sees.
	Data *os.File
	Info Info

	store *Store
	name  string
	lock  *os.File
}

// Request says which cache is wanted.
type Request struct {
	Key     string // hexadecimal
	Sharing effect.Sharing
	ID      string // for people
	// Fill gives the directory of a new cache its first content and looks.
	Fill func(dir string) error
}

// Acquire takes a cache for a process: one that is there and may be used, or else a new one. A locked one that is in use is
// waited for.
func (s *Store) Acquire(ctx context.Context, r Request) (*Instance, error) {
	for {
		in, busy, err := s.find(r)
		if in != nil || err != nil {
			return in, err
		}
		if !busy || r.Sharing != effect.SharingLocked {
			if in, err = s.make(r); in != nil || err != nil {
				return in, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(retry):
		}
	}
}

// find takes one of the instances that are there; busy says that others use them all.
func (s *Store) find(r Request) (in *Instance, busy bool, err error) {
	names, err := s.instances(r.Key)
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		in, err := s.take(name, lockOf(r.Sharing))
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			busy = true
		case errors.Is(err, os.ErrNotExist):
		default:
			return in, false, err
		}
	}
	return nil, busy, nil
}

func lockOf(sharing effect.Sharing) int {
	if sharing == effect.SharingShared {
		return unix.LOCK_SH
	}
	return unix.LOCK_EX
}

// instances are the names of the instances of a key, in order.
func (s *Store) instances(key string) ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list cache mounts: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimPrefix(e.Name(), key+"-")); err == nil && strings.HasPrefix(e.Name(), key+"-") {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	names := make([]string, len(numbers))
	for i, n := range numbers {
		names[i] = instanceName(key, n)
	}
	return names, nil
}

func instanceName(key string, n int) string { return fmt.Sprintf("%s-%d", key, n) }

// take locks an instance and opens it. The error is EWOULDBLOCK where it is in use.
func (s *Store) take(name string, how int) (*Instance, error) {
	lock, err := s.lock(name, how)
	if err != nil {
		return nil, err
	}
	in := &Instance{store: s, name: name, lock: lock, Info: readInfo(lock)}
	if err := in.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	now := []unix.Timeval{unix.NsecToTimeval(time.Now().UnixNano()), unix.NsecToTimeval(time.Now().UnixNano())}
	_ = unix.Futimes(int(lock.Fd()), now) // for who prunes
	return in, nil
}

// lock locks a directory, and makes sure that it still has its name: it may have been removed meanwhile.
func (s *Store) lock(name string, how int) (*os.File, error) {
	path := filepath.Join(s.dir, name)
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), how|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	var locked, named unix.Stat_t
	err = errors.Join(unix.Fstat(int(dir.Fd()), &locked), unix.Lstat(path, &named))
	if err == nil && (locked.Dev != named.Dev || locked.Ino != named.Ino) {
		err = os.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// open opens the data. A link in its place leads nowhere: it is refused.
func (in *Instance) open() error {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(int(in.lock.Fd()), dataName, &how)
	if err != nil {
		return &damagedError{in.Path(), err}
	}
	in.Data = os.NewFile(uintptr(fd), in.Path())
	return nil
}

// damagedError says that an instance is not what this package made.
type damagedError struct {
	path string
	err  error
}

// Error names the directory.
func (e *damagedError) Error() string { return fmt.Sprintf("open cache mount %q: %v", e.path, e.err) }

// Unwrap gives the cause.
func (e *damagedError) Unwrap() error { return e.err }

// Hint says what would help.
func (e *damagedError) Hint() string {
	return "somebody changed it: trowel cache prune --all removes it"
}

// Path is where the data lies.
func (in *Instance) Path() string { return filepath.Join(in.store.dir, in.name, dataName) }

// Release ends the use of the cache.
func (in *Instance) Release() error { return errors.Join(in.Data.Close(), in.lock.Close()) }

// Idle takes an instance of a cache that nobody else is using; nil if there is none.
func (s *Store) Idle(key string) (*Instance, error) {
	in, _, err := s.find(Request{Key: key, Sharing: effect.SharingPrivate})
	return in, err
}

// make makes a new instance. The result is nil where somebody else made one meanwhile that may do.
func (s *Store) make(r Request) (*Instance, error) {
	mu, _ := s.making.LoadOrStore(r.Key, &sync.Mutex{})
	mu.(*sync.Mutex).Lock()
	defer mu.(*sync.Mutex).Unlock()
	if in, busy, err := s.find(r); in != nil || err != nil || busy && r.Sharing == effect.SharingLocked {
		return in, err
	}
	name, lock, err := s.fill(r)
	if err != nil {
		return nil, fmt.Errorf("make cache mount %q: %w", r.ID, err)
	}
	in, err := s.name(r, name, lock)
	if in == nil {
		err = errors.Join(err, lock.Close(), s.discard(name))
	}
	return in, err
}

// name gives a filled instance a name, unless somebody else made one meanwhile that may do.
func (s *Store) name(r Request, filled string, lock *os.File) (*Instance, error) {
	for n := 0; ; n++ {
		name := instanceName(r.Key, n)
		err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(s.dir, filled), unix.AT_FDCWD, filepath.Join(s.dir, name), unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			if in, busy, err := s.find(r); in != nil || err != nil || busy && r.Sharing == effect.SharingLocked {
				return nil, errors.Join(err, in.release())
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("name cache mount %q: %w", r.ID, err)
		}
		in := &Instance{store: s, name: name, lock: lock, Info: Info{ID: r.ID}}
		if err := unix.Flock(int(lock.Fd()), lockOf(r.Sharing)); err != nil { // a lock of one's own is changed
			return in, fmt.Errorf("lock cache mount %q: %w", r.ID, err)
		}
		return in, in.open()
	}
}

// release is Release of an instance that may be none.
func (in *Instance) release() error {
	if in == nil {
		return nil
	}
	return in.Release()
}

// fill makes an instance that has no name yet, locked: until it has one it is nobody's to sweep.
func (s *Store) fill(r Request) (name string, lock *os.File, err error) {
	for lock == nil { // before it is locked, another process may take it for a dead one's
		path, err := os.MkdirTemp(s.dir, newName)
		if err != nil {
			return "", nil, err
		}
		name = filepath.Base(path)
		lock, err = s.lock(name, unix.LOCK_EX)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, os.ErrNotExist) {
			return "", nil, errors.Join(err, s.discard(name))
		}
	}
	path := filepath.Join(s.dir, name)
	if err = os.Mkdir(filepath.Join(path, dataName), 0o755); err == nil {
		if err = r.Fill(filepath.Join(path, dataName)); err == nil {
			err = writeInfo(lock, Info{ID: r.ID})
		}
	}
	if err != nil {
		return "", nil, errors.Join(err, lock.Close(), s.discard(name))
	}
	return name, lock, nil
}

func (s *Store) discard(name string) error { return rootfs.RemoveAll(filepath.Join(s.dir, name)) }

// sweep removes what was being made or removed by a process that is gone.
func (s *Store) sweep() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), newName) {
			continue
		}
		if lock, err := s.lock(e.Name(), unix.LOCK_EX); err == nil {
			_ = s.discard(e.Name()) // what cannot be removed is left to somebody who can
			_ = lock.Close()
		}
	}
}
