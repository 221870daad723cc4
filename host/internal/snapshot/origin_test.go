package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

// salvaged is a directory of the base that is going to be changed, to make another of what is left of it.
type salvaged struct {
	*plain
	origin *snapshot.Origin
	read   int // files of the layer
}

func newSalvaged(t *testing.T) *salvaged {
	t.Helper()
	s := &salvaged{plain: newPlain(t)}
	s.origin = snapshot.NewOrigin(s.record)
	return s
}

// salvage makes the other directory.
func (s *salvaged) salvage() (string, error) {
	s.Helper()
	untouched, err := s.origin.Untouched(s.Context(), s.options())
	if err != nil {
		return "", err
	}
	entries, source := base()
	layer := rootfs.Layer{Entries: entries, Read: func(_ context.Context, visit func(filetree.Entry, io.Reader) error) error {
		for _, e := range entries {
			s.read++
			if err := visit(e, strings.NewReader(source.text[e.Path])); err != nil {
				return err
			}
		}
		return nil
	}}
	into := s.TempDir()
	_, err = rootfs.Salvage(s.Context(), into, rootfs.Used{Dir: s.dir, Untouched: untouched}, []rootfs.Layer{layer}, rootfstest.Options(s))
	return into, err
}

// expectFresh salvages, and compares that in all that can be seen with what is unpacked.
func (s *salvaged) expectFresh(what string) {
	s.Helper()
	into, err := s.salvage()
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
	fresh := s.TempDir()
	entries, source := base()
	unpack(s, fresh, entries, source)
	if diff := cmp.Diff(everything(s, fresh), everything(s, into)); diff != "" {
		s.Errorf("%s: directory (-unpacked +salvaged):\n%s", what, diff)
	}
}

// everything is what [rootfstest.Dump] tells, and what it does not: attributes, flags, how many names a file has.
func everything(t testing.TB, dir string) []string {
	t.Helper()
	lines, err := rootfstest.Dump(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		var names [4096]byte
		n, err := unix.Llistxattr(p, names[:])
		if err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		more := fmt.Sprintf("%q attributes %q", strings.TrimPrefix(p, dir), names[:n])
		if !d.IsDir() {
			more += fmt.Sprintf(" names %d", st.Nlink)
		}
		if d.IsDir() || d.Type().IsRegular() {
			more += fmt.Sprintf(" flags %x", flags(t, p))
		}
		lines = append(lines, more)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// flags are those of chattr(1), 0 where there are none.
func flags(t testing.TB, p string) int {
	t.Helper()
	f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NOATIME, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags, _ := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	return flags
}

func setFlags(p string, flags int) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	return errors.Join(unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags), f.Close())
}

// TestSalvage runs the scripts of TestUpper in a plain directory, and makes another of what they leave.
func TestSalvage(t *testing.T) {
	t.Parallel()
	for name, tt := range scripts() {
		t.Run(strings.ReplaceAll(name, ",", ""), func(t *testing.T) {
			t.Parallel()
			s := newSalvaged(t)
			s.sh(tt.script)
			s.expectFresh("the script")
		})
	}
}

// TestSalvageTakesWhatIsLeft holds that nothing is made which is there: no layer is read, and what is moved is moved whole.
func TestSalvageTakesWhatIsLeft(t *testing.T) {
	t.Parallel()
	inode := func(p string) uint64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	for name, tt := range map[string]struct {
		script string
		read   bool
		moved  []string
		made   []string
	}{
		"nothing":         {`true`, false, []string{"d", "d/sub/deep/y", "h1", "h2", "p", "ping", "l"}, []string{""}},
		"new files":       {`echo >d/sub/new; mkdir d/dir; ln -s x m`, false, []string{"d/sub/deep", "d/a", "other"}, []string{"d", "d/sub"}},
		"a new directory": {`mkdir d/sub/deep/n`, false, []string{"d/sub/x", "d/sub/deep/y"}, []string{"d/sub/deep"}},
		"a changed file":  {`echo >>d/a`, true, []string{"d/b", "d/sub"}, []string{"d/a"}},
		"a link":          {`ln h1 d/h3`, true, []string{"f"}, []string{"h1", "h2"}},
		"a directory":     {`chmod 700 d; chmod 755 d`, false, []string{"d/a", "d/sub"}, []string{"d"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSalvaged(t)
			before := map[string]uint64{}
			for _, p := range slices.Concat(tt.moved, tt.made) {
				before[p] = inode(filepath.Join(s.dir, p))
			}
			s.sh(tt.script)
			into, err := s.salvage()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range tt.moved {
				if inode(filepath.Join(into, p)) != before[p] {
					t.Errorf("%q was made anew", p)
				}
			}
			for _, p := range tt.made {
				if inode(filepath.Join(into, p)) == before[p] {
					t.Errorf("%q was moved", p)
				}
			}
			if s.read > 0 != tt.read {
				t.Errorf("%d files were read", s.read)
			}
		})
	}
}

// hostile are ways to leave something behind.
func hostile() map[string]func(at func(string) string) error {
	keepTime := func(at func(string) string, name string, do func() error) error {
		var st unix.Stat_t
		err := unix.Lstat(at(name), &st)
		return errors.Join(err, do(), unix.UtimesNanoAt(unix.AT_FDCWD, at(name), []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW))
	}
	// A default access list that gives user 1 all rights.
	acl := []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\x00\x00\x00\x00\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff")
	return map[string]func(at func(string) string) error{
		"content, times kept": func(at func(string) string) error {
			return keepTime(at, "d/a", func() error { return os.WriteFile(at("d/a"), []byte("!"), 0o644) })
		},
		"content by a mapping": func(at func(string) string) error {
			return keepTime(at, "f", func() error {
				f, err := os.OpenFile(at("f"), os.O_RDWR, 0)
				if err != nil {
					return err
				}
				m, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
				if err != nil {
					return err
				}
				copy(m, "evil")
				return errors.Join(unix.Munmap(m), f.Close())
			})
		},
		"content by another name": func(at func(string) string) error {
			return keepTime(at, "h2", func() error { return os.WriteFile(at("h2"), []byte("HARD"), 0o644) })
		},
		"a name elsewhere": func(at func(string) string) error {
			return errors.Join(os.Link(at("f"), at("../outside")), os.Chmod(at("../outside"), 0o777))
		},
		"another file of the same looks": func(at func(string) string) error {
			var st unix.Stat_t
			return errors.Join(unix.Lstat(at("d/a"), &st), os.WriteFile(at("x"), []byte("!"), 0o644),
				unix.UtimesNanoAt(unix.AT_FDCWD, at("x"), []unix.Timespec{st.Atim, st.Mtim}, 0), os.Rename(at("x"), at("d/a")))
		},
		"two exchanged": func(at func(string) string) error {
			return unix.Renameat2(unix.AT_FDCWD, at("d/a"), unix.AT_FDCWD, at("d/b"), unix.RENAME_EXCHANGE)
		},
		"directories exchanged": func(at func(string) string) error {
			return unix.Renameat2(unix.AT_FDCWD, at("d/sub"), unix.AT_FDCWD, at("other"), unix.RENAME_EXCHANGE)
		},
		"a directory away and back": func(at func(string) string) error {
			return errors.Join(os.Rename(at("d"), at("x")), os.WriteFile(at("x/new"), nil, 0o644), os.Rename(at("x"), at("d")))
		},
		"an attribute of a file":      func(at func(string) string) error { return unix.Setxattr(at("f"), "user.evil", []byte("x"), 0) },
		"an attribute of a directory": func(at func(string) string) error { return unix.Setxattr(at("d/sub"), "user.evil", []byte("x"), 0) },
		"an attribute of the root":    func(at func(string) string) error { return unix.Setxattr(at(""), "user.evil", []byte("x"), 0) },
		"a default access list": func(at func(string) string) error {
			return unix.Setxattr(at("d/sub"), "system.posix_acl_default", acl, 0)
		},
		"a default access list of the root": func(at func(string) string) error {
			return unix.Setxattr(at(""), "system.posix_acl_default", acl, 0)
		},
		"capabilities": func(at func(string) string) error {
			return unix.Setxattr(at("f"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0)
		},
		"other capabilities": func(at func(string) string) error {
			return unix.Setxattr(at("ping"), "security.capability", []byte("\x01\x00\x00\x02\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0)
		},
		"set-user-id":  func(at func(string) string) error { return os.Chmod(at("f"), 0o755|fs.ModeSetuid) },
		"set-group-id": func(at func(string) string) error { return os.Chmod(at("d"), 0o777|fs.ModeSetgid) },
		"sticky":       func(at func(string) string) error { return os.Chmod(at("d/sub"), 0o777|fs.ModeSticky) },
		"flags of a file": func(at func(string) string) error {
			return unlessNone(setFlags(at("f"), unix.STATX_ATTR_NODUMP))
		},
		"flags of a directory": func(at func(string) string) error {
			return unlessNone(setFlags(at("d"), unix.STATX_ATTR_NODUMP))
		},
		"a directory in place of a link to it": func(at func(string) string) error {
			return errors.Join(os.Rename(at("other"), at("x")), os.Symlink("/etc", at("other")))
		},
		"everything deleted": func(at func(string) string) error {
			names, err := os.ReadDir(at(""))
			for _, n := range names {
				err = errors.Join(err, os.RemoveAll(at(n.Name())))
			}
			return err
		},
		"held open": func(at func(string) string) error {
			f, err := os.OpenFile(at("f"), os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("evil")
			return err // and left open
		},
	}
}

// unlessNone ignores that a file system has no flags.
func unlessNone(err error) error {
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// TestSalvageLeavesNothingBehind tries to.
func TestSalvageLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for name, do := range hostile() {
		t.Run(strings.ReplaceAll(name, ",", ""), func(t *testing.T) {
			t.Parallel()
			s := newSalvaged(t)
			if err := do(func(name string) string { return filepath.Join(s.dir, name) }); err != nil {
				t.Fatal(err)
			}
			s.expectFresh(name)
		})
	}
}

// TestSalvageRefusesImmutable gives up where something cannot be moved.
func TestSalvageRefusesImmutable(t *testing.T) {
	t.Parallel()
	s := newSalvaged(t)
	d := filepath.Join(s.dir, "d")
	if err := setFlags(d, unix.STATX_ATTR_IMMUTABLE); err != nil {
		t.Skip("nothing can be made immutable here:", err)
	}
	t.Cleanup(func() { _ = setFlags(d, 0) })
	if _, err := s.salvage(); err == nil {
		t.Error("what was in an immutable directory was moved")
	}
}

// TestSalvageShifted takes what the executor moved for untouched, over several runs, unless something else happened to it.
func TestSalvageShifted(t *testing.T) {
	t.Parallel()
	s := newSalvaged(t)
	aside := t.TempDir()
	var st unix.Stat_t
	ctime := func(name string) unix.Timespec {
		t.Helper()
		if err := unix.Lstat(filepath.Join(s.dir, name), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ctim
	}
	run := func(meanwhile string, names ...string) {
		t.Helper()
		var shifts []executor.Shift
		for _, name := range names {
			x := executor.Shift{Path: name, Old: ctime(name)}
			s.sh(`mv ` + name + ` ` + aside + `/x; sleep 0.02; mv ` + aside + `/x ` + name)
			x.New = ctime(name)
			shifts = append(shifts, x)
		}
		s.origin.Moved(shifts)
		s.sh(`sleep 0.02; ` + meanwhile)
	}
	untouched := func(want map[string]bool) {
		t.Helper()
		f, err := s.origin.Untouched(t.Context(), s.options())
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for name := range want {
			got[name] = f(name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("untouched (-want +got):\n%s", diff)
		}
	}
	run("", "f", "unread", "empty", "h1", "twin1")
	untouched(map[string]bool{"f": true, "unread": true, "empty": true, "h1": false, "h2": false, "twin1": true, "twin2": true, "d/a": true})
	run("chmod 600 f; chmod 644 f", "f", "unread")
	untouched(map[string]bool{"f": false, "unread": true, "empty": true})
	run("", "f", "unread") // what was changed between stays so
	untouched(map[string]bool{"f": false, "unread": true, "empty": true})
	run("printf TWIN >twin1; touch -d @1600000000 twin1", "twin2")
	untouched(map[string]bool{"f": false, "unread": true, "twin1": false, "twin2": true})
	s.expectFresh("shifted")
}
