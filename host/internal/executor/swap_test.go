package executor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fakeRoot is a container's root directory as tests make it.
type fakeRoot struct {
	root, own string
	plain     Plain
}

// newFakeRoot makes a container's root and a plain directory. Names ending in a slash are directories; a file's content is
// its own path, with a word before it that says whose it is.
func newFakeRoot(t *testing.T, container, stage []string) fakeRoot {
	t.Helper()
	dir := t.TempDir()
	f := fakeRoot{root: filepath.Join(dir, "root")}
	f.own = filepath.Join(f.root, ".trowel")
	f.plain = Plain{Dir: filepath.Join(f.own, "work/stage"), Aside: filepath.Join(f.own, "work/aside")}
	for _, d := range []string{f.plain.Dir, f.plain.Aside} {
		must(t, os.MkdirAll(d, 0o755))
	}
	makeFiles(t, f.root, "container", container)
	makeFiles(t, f.plain.Dir, "stage", stage)
	return f
}

func makeFiles(t *testing.T, root, word string, names []string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
			continue
		}
		must(t, os.WriteFile(path, []byte(word+" "+name), 0o644))
	}
}

// picture is all that can be seen of a tree, but the times of change and the builder's own directory.
func picture(t *testing.T, root string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if rel == ".trowel" {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		text := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(content)
		}
		seen[rel] = text
		return nil
	}))
	return seen
}

func (f fakeRoot) open(t *testing.T) *inPlace {
	t.Helper()
	h, err := openInPlace(t.Context(), f.root, f.own)
	must(t, err)
	return h
}

// in runs f while the plain directory is the root.
func (f fakeRoot) in(t *testing.T, do func()) []Shift {
	t.Helper()
	h := f.open(t)
	s, err := h.swapIn(f.plain)
	must(t, err)
	s.settle()
	do()
	must(t, s.leave())
	shifts, err := s.shifts(nil)
	must(t, err)
	must(t, errors.Join(s.close(), h.close()))
	return shifts
}

func TestSwap(t *testing.T) {
	t.Parallel()
	f := newFakeRoot(t, []string{"etc/passwd", "bin/sh", "tmp/left", "kaniko/executor", "kaniko/.docker/config.json", "busybox/sh", "only"},
		[]string{"etc/passwd", "bin/bash", "tmp/", "srv/app/file", "top", "kaniko/mine"})
	must(t, os.Symlink("bin", f.plain.Dir+"/sbin"))
	must(t, os.Chmod(f.plain.Dir+"/kaniko", 0o700))
	container, stage := picture(t, f.root), picture(t, f.plain.Dir)
	var want map[string]string
	shifts := f.in(t, func() {
		inside := picture(t, f.root)
		for _, name := range []string{"kaniko/executor"} {
			if inside[name] != container[name] {
				t.Errorf("%s is %q, want %q", name, inside[name], container[name])
			}
			delete(inside, name)
		}
		if diff := cmp.Diff(stage, inside); diff != "" {
			t.Errorf("inside (-want +got):\n%s", diff)
		}
		must(t, os.WriteFile(f.root+"/new", nil, 0o600))
		must(t, os.WriteFile(f.root+"/top", []byte("changed"), 0o644))
		must(t, os.RemoveAll(f.root+"/srv"))
		must(t, os.WriteFile(f.root+"/kaniko/new", nil, 0o600))
		must(t, os.Chmod(f.root+"/kaniko", 0o711))
		want = picture(t, f.root)
		for _, name := range []string{"kaniko/executor"} {
			delete(want, name)
		}
	})
	if diff := cmp.Diff(container, picture(t, f.root)); diff != "" {
		t.Errorf("the container afterwards (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, picture(t, f.plain.Dir)); diff != "" {
		t.Errorf("the plain directory afterwards (-want +got):\n%s", diff)
	}
	var names []string
	for _, s := range shifts {
		names = append(names, s.Path)
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(f.plain.Dir, s.Path), &st))
		if st.Ctim != s.New || s.Old == s.New {
			t.Errorf("shift of %s: %v, its time is %v", s.Path, s, st.Ctim)
		}
	}
	if diff := cmp.Diff([]string{"kaniko/mine", "sbin"}, names); diff != "" {
		t.Errorf("shifts (-want +got):\n%s", diff)
	}
}

// Mount points stay; a directory that a mount lies in deeper down goes away with it.
func TestSwapMounts(t *testing.T) {
	t.Parallel()
	f := newFakeRoot(t, []string{"proc/", "etc/resolv.conf", "etc/hosts", "etc/motd", "var/run/secrets/token/", "builds/project/", "workspace/"},
		[]string{"etc/resolv.conf", "etc/passwd", "proc/", "var/lib/file", "workspace/"})
	must(t, os.Symlink("/run", f.plain.Dir+"/var/run"))
	inOwnMountNamespace(t, func() {
		for _, d := range []string{"proc", "var/run/secrets/token", "builds", "workspace"} {
			must(t, unix.Mount("none", filepath.Join(f.root, d), "tmpfs", 0, ""))
		}
		must(t, os.WriteFile(f.root+"/workspace/checkout", nil, 0o644))
		must(t, unix.Mount(f.root+"/etc/hosts", f.root+"/etc/hosts", "", unix.MS_BIND, ""))
		must(t, unix.Mount(f.root+"/etc/hosts", f.root+"/etc/resolv.conf", "", unix.MS_BIND, ""))
		must(t, os.WriteFile(f.root+"/var/run/secrets/token/token", nil, 0o644))
		container, stage := picture(t, f.root), picture(t, f.plain.Dir)
		f.in(t, func() {
			for name, want := range map[string]bool{
				"workspace/checkout": true, "builds": true, "etc/passwd": true, "etc/motd": false, "var/lib/file": true,
			} {
				if _, err := os.Lstat(filepath.Join(f.root, name)); (err == nil) != want {
					t.Errorf("%s inside: %v, want %v", name, err, want)
				}
			}
			if text, err := os.ReadFile(f.root + "/etc/resolv.conf"); err != nil || string(text) != "container etc/hosts" {
				t.Errorf("resolv.conf is %q, %v", text, err)
			}
			if to, err := os.Readlink(f.root + "/var/run"); to != "/run" {
				t.Errorf("/var/run: %q, %v", to, err)
			}
		})
		if diff := cmp.Diff(container, picture(t, f.root)); diff != "" {
			t.Errorf("the container afterwards (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(stage, picture(t, f.plain.Dir)); diff != "" {
			t.Errorf("the plain directory afterwards (-want +got):\n%s", diff)
		}
	})
}

// What would be hidden by something that cannot be moved is refused, and all is as before.
func TestSwapHidden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		stage      []string
		link       string
	}{
		{"below a mount", `"/workspace/app"`, []string{"workspace/app", "bin/sh"}, ""},
		{"file at a mount", `"/workspace"`, []string{"workspace", "bin/sh"}, ""},
		{"below the builder's", `"/.trowel/x"`, []string{".trowel/x", "bin/sh"}, ""},
		{"link at a spine", `"/etc"`, []string{"bin/sh"}, "etc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeRoot(t, []string{"etc/hosts", "workspace/", "bin/cp"}, tt.stage)
			if tt.link != "" {
				must(t, os.Symlink("bin", filepath.Join(f.plain.Dir, tt.link)))
			}
			inOwnMountNamespace(t, func() {
				must(t, unix.Mount("none", f.root+"/workspace", "tmpfs", 0, ""))
				must(t, unix.Mount(f.root+"/etc/hosts", f.root+"/etc/hosts", "", unix.MS_BIND, ""))
				container, stage := picture(t, f.root), picture(t, f.plain.Dir)
				h := f.open(t)
				s, err := h.swapIn(f.plain)
				if err == nil || !strings.Contains(err.Error(), tt.want) || hintOf(err) == "" {
					t.Errorf("swap: %v, want %s", err, tt.want)
				}
				must(t, errors.Join(s.leave(), s.close(), h.close()))
				if diff := cmp.Diff(container, picture(t, f.root)); diff != "" {
					t.Errorf("the container afterwards (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(stage, picture(t, f.plain.Dir)); diff != "" {
					t.Errorf("the plain directory afterwards (-want +got):\n%s", diff)
				}
			})
		})
	}
}
