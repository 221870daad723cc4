package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const socketPrefix = "trowel-plugins-"

// socketDir is a directory for the sockets of plugins that are processes. It is locked while it is in use.
type socketDir struct {
	name string
	lock *os.File
}

// openSocketDir makes a directory, and removes those of processes that were killed. The path of a socket has 107 bytes at
// most: where that of temporary files is a long one, it is made in /tmp.
func openSocketDir() (*socketDir, error) {
	const longest = 44
	parent := os.TempDir()
	if len(parent) > longest {
		parent = "/tmp"
	}
	left, err := filepath.Glob(filepath.Join(parent, socketPrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		removeAbandoned(name)
	}
	name, err := os.MkdirTemp(parent, socketPrefix) // mode 0700
	if err != nil {
		return nil, err
	}
	lock, err := os.Open(name)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close(), os.RemoveAll(name))
	}
	return &socketDir{name, lock}, nil
}

// removeAbandoned removes a directory that is ours and that nobody has locked. One that was just made may not be locked yet:
// it is empty, and left alone for an hour.
func removeAbandoned(name string) {
	dir, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	defer dir.Close()
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) != nil || int(st.Uid) != os.Getuid() || unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	names, err := dir.Readdirnames(1)
	if err == nil && len(names) > 0 || time.Since(time.Unix(st.Mtim.Unix())) > time.Hour {
		_ = os.RemoveAll(name) // the next build tries again
	}
}

func (s *socketDir) close() error { return errors.Join(os.RemoveAll(s.name), s.lock.Close()) }
