package snapshot_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSalvageAnything changes the base by chance.
func TestSalvageAnything(t *testing.T) {
	t.Parallel()
	for range 40 {
		seed := rand.Uint64()
		s := newSalvaged(t)
		m := mutator{rand: rand.New(rand.NewPCG(seed, 1)), dir: s.dir}
		for range 1 + m.rand.IntN(12) {
			m.change()
		}
		s.expectFresh(fmt.Sprintf("seed %d: %s", seed, strings.Join(m.log, "; ")))
	}
}

// mutator does what a process may do. That it does not succeed with all of it does not matter.
type mutator struct {
	rand *rand.Rand
	dir  string
	log  []string
}

// any is a path that exists, mostly.
func (m *mutator) any() string {
	var paths []string
	_ = filepath.WalkDir(m.dir, func(p string, _ fs.DirEntry, _ error) error {
		paths = append(paths, p)
		return nil
	})
	p := paths[m.rand.IntN(len(paths))]
	if m.rand.IntN(4) == 0 {
		p += fmt.Sprintf("/new%d", m.rand.IntN(3))
	}
	return p
}

// within does what would follow a symlink out of the directory.
func (m *mutator) within(p string, do func(r *os.Root, p string) error) error {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(m.dir, p)
	if err == nil {
		err = do(root, rel)
	}
	return errors.Join(err, root.Close())
}

// write gives a file another content. It does not wait for somebody to read a FIFO.
func (m *mutator) write(p, content string) error {
	return m.within(p, func(r *os.Root, p string) error {
		f, err := r.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(content)
		return errors.Join(err, f.Close())
	})
}

func (m *mutator) change() {
	p, q := m.any(), m.any()
	var st unix.Stat_t
	known := unix.Lstat(p, &st) == nil
	actions := []struct {
		name string
		do   func() error
	}{
		{"write", func() error { return m.write(p, strings.Repeat("x", int(st.Size))) }},
		{"append", func() error { return m.write(p, "longer than before") }},
		{"truncate", func() error { return m.write(p, "") }},
		{"chmod", func() error {
			return m.within(p, func(r *os.Root, p string) error { return r.Chmod(p, fs.FileMode(m.rand.IntN(0o1000))|0o700) })
		}},
		{"chown", func() error { return os.Lchown(p, m.rand.IntN(3), m.rand.IntN(3)) }},
		{"remove", func() error {
			if p == m.dir || !known { // RemoveAll opens what it takes for a directory above
				return nil
			}
			return os.RemoveAll(p)
		}},
		{"rename", func() error { return os.Rename(p, q) }},
		{"exchange", func() error { return unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_EXCHANGE) }},
		{"link", func() error { return os.Link(p, q+"-link") }},
		{"symlink", func() error { return os.Symlink(q, p+"-symlink") }},
		{"mkdir", func() error { return os.MkdirAll(p+"-dir/sub", 0o755) }},
		{"fifo", func() error { return unix.Mkfifo(p+"-fifo", 0o644) }},
		{"setxattr", func() error { return unix.Lsetxattr(p, "user.x", []byte("x"), 0) }},
		{"touch", func() error {
			return m.within(p, func(r *os.Root, p string) error { return r.Chtimes(p, time.Unix(1, 0), time.Unix(1, 0)) })
		}},
	}
	a := actions[m.rand.IntN(len(actions))]
	m.log = append(m.log, a.name+" "+strings.TrimPrefix(p, m.dir)+" "+strings.TrimPrefix(q, m.dir))
	if strings.HasPrefix(q, p+"/") && a.name == "rename" {
		return
	}
	if a.do() == nil && known && m.rand.IntN(2) == 0 {
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
}
