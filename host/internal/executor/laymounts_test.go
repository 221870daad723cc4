package executor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// mountOver mounts an overlay of the tree on itself, as a container engine does: directories that an image layer has cannot be
// renamed there.
func (w *layTree) mountOver(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	lower, upper, work := filepath.Join(dir, "lower"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	must(t, os.Rename(w.root, lower))
	for _, d := range []string{upper, work, w.root} {
		must(t, os.Mkdir(d, 0o755))
	}
	options := "redirect_dir=nofollow,metacopy=off,index=off,lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	if !userNamespace(t).Initial {
		options += ",userxattr"
	}
	must(t, unix.Mount("overlay", w.root, "overlay", 0, options))
	w.aside = filepath.Join(w.root, ".aside")
	must(t, os.Mkdir(w.aside, 0o700))
}

// In a container the directories of its image cannot be moved: what is in them is.
func TestLayOverImageDirectory(t *testing.T) {
	t.Parallel()
	inOwnMountNamespace(t, func() {
		w := newLayTree(t, "opt/file=f", "opt/sub/deep/x=y", "opt/link=->file", "etc/resolv.conf=image")
		w.mountOver(t)
		before := contents(t, w.root)
		source := t.TempDir()
		fill(t, source, "shown=s")
		p := Process{ResolvConf: []byte("shown"), Mounts: []Mount{
			{Kind: MountBind, Source: source, Target: "/opt"}, {Kind: MountTmpfs, Target: "/new/dir"},
		}}
		for range 2 { // the second time they can be moved in part
			l, err := w.lay(t, p)
			must(t, err)
			if diff := cmp.Diff([]string{"shown=s"}, contents(t, w.path("opt"))); diff != "" {
				t.Error(diff)
			}
			must(t, os.WriteFile(w.path("opt/shown"), []byte("s"), 0o644))
			shifts, err := l.remove()
			must(t, err)
			if diff := cmp.Diff(before, contents(t, w.root)); diff != "" {
				t.Errorf("not as before:\n%s", diff)
			}
			for _, s := range shifts {
				var st unix.Stat_t
				must(t, unix.Lstat(w.path(s.Path), &st))
				if st.Ctim != s.New {
					t.Errorf("%+v: the file's time is %v", s, st.Ctim)
				}
			}
			if len(shifts) == 0 {
				t.Error("no file is told to have moved")
			}
			if diff := cmp.Diff([]string{"shown=s"}, contents(t, source)); diff != "" {
				t.Error(diff)
			}
		}
		dead, err := w.lay(t, p)
		must(t, err)
		for _, fd := range dead.fds {
			must(t, unix.Close(fd))
		}
		must(t, closeAll(dead.files))
		l, err := w.lay(t, Process{})
		must(t, err)
		if diff := cmp.Diff(before, contents(t, w.root)); diff != "" {
			t.Errorf("after a killed builder:\n%s", diff)
		}
		_, err = l.remove()
		must(t, err)
	})
}

// What a container's engine has mounted is covered where that can be undone, and else refused by name and left alone.
func TestLayOverContainersMounts(t *testing.T) {
	t.Parallel()
	inOwnMountNamespace(t, func() {
		w := newLayTree(t, "empty/", "full/", "etc/resolv.conf=", "etc/hosts=image", "run/token=")
		own := t.TempDir()
		fill(t, own, "resolv.conf=container's", "token=t")
		must(t, unix.Mount("tmpfs", w.path("empty"), "tmpfs", 0, ""))
		must(t, unix.Mount("tmpfs", w.path("full"), "tmpfs", 0, ""))
		must(t, os.WriteFile(w.path("full/file"), []byte("f"), 0o644))
		must(t, unix.Mount(own+"/resolv.conf", w.path("etc/resolv.conf"), "", unix.MS_BIND, ""))
		must(t, unix.Mount(own+"/token", w.path("run/token"), "", unix.MS_BIND, ""))
		before := contents(t, w.root)
		cache := t.TempDir()
		l, err := w.lay(t, Process{ResolvConf: []byte("shown"), Hosts: []byte("shown"), Mounts: []Mount{
			{Kind: MountBind, Source: cache, Target: "/empty"}, {Kind: MountTmpfs, Target: "/full/sub/tmp"},
		}})
		must(t, err)
		for _, name := range []string{"etc/resolv.conf", "etc/hosts"} {
			if text, err := os.ReadFile(w.path(name)); string(text) != "shown" {
				t.Errorf("%s: %q, %v", name, text, err)
			}
		}
		must(t, os.WriteFile(w.path("empty/kept"), []byte("k"), 0o644))
		must(t, os.WriteFile(w.path("etc/resolv.conf"), []byte("the process's"), 0o644))
		_, err = l.remove()
		must(t, err)
		if diff := cmp.Diff(before, contents(t, w.root)); diff != "" {
			t.Errorf("not as before:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"kept=k"}, contents(t, cache)); diff != "" {
			t.Error(diff)
		}
		for _, m := range []Mount{
			{Kind: MountTmpfs, Target: "/full"}, {Kind: MountSecret, Content: []byte("s3cret"), Target: "/run/token"},
		} {
			if _, err := w.lay(t, Process{Mounts: []Mount{m}}); err == nil || !strings.Contains(err.Error(), m.Target) {
				t.Errorf("%s: err = %v", m.Target, err)
			}
			if diff := cmp.Diff(before, contents(t, w.root)); diff != "" {
				t.Errorf("%s: not as before:\n%s", m.Target, diff)
			}
		}
	})
}
