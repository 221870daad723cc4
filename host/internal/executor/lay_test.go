package executor

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// layTree is a root file system to lay mounts in.
type layTree struct {
	root, aside string
	notices     []string
}

// newLayTree makes one of files, by path and content; a path that ends in a slash is a directory.
func newLayTree(t testing.TB, files ...string) *layTree {
	t.Helper()
	dir := t.TempDir()
	w := &layTree{root: filepath.Join(dir, "root"), aside: filepath.Join(dir, "aside")}
	must(t, os.Mkdir(w.root, 0o755))
	must(t, os.Mkdir(w.aside, 0o700))
	fill(t, w.root, files...)
	return w
}

// fill makes files, all of one old time.
func fill(t testing.TB, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
		} else if to, ok := strings.CutPrefix(content, "->"); ok {
			must(t, os.Symlink(to, path))
		} else {
			must(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
	old := time.Unix(1700000000, 123456789)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() == fs.ModeSymlink {
			return err
		}
		return os.Chtimes(path, old, old)
	}))
}

func (w *layTree) lay(t testing.TB, p Process) (*laid, error) {
	t.Helper()
	root, err := os.Open(w.root)
	must(t, err)
	aside, err := os.Open(w.aside)
	must(t, err)
	t.Cleanup(func() { root.Close(); aside.Close() })
	p.Notice = func(text string) { w.notices = append(w.notices, text) }
	return lay(t.Context(), root, aside, p)
}

func (w *layTree) mustLay(t testing.TB, mounts ...Mount) *laid {
	t.Helper()
	l, err := w.lay(t, Process{Mounts: mounts})
	must(t, err)
	return l
}

// path is that of a file inside.
func (w *layTree) path(name string) string { return filepath.Join(w.root, name) }

// looks describes every file of a directory, with the inodes and times that nothing but a process may change.
func looks(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		name, _ := filepath.Rel(dir, path)
		text := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			must(t, err)
			text += fmt.Sprintf(" links %d inode %d %q", st.Nlink, st.Ino, content)
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			must(t, err)
			text = "->" + to
		}
		found[name] = text
		return nil
	}))
	return found
}

// contents describes the files of a directory by path and content.
func contents(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir():
			name += "/"
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			must(t, err)
			name += "=->" + to
		case d.Type().IsRegular():
			content, err := os.ReadFile(path)
			must(t, err)
			name += "=" + string(content)
		}
		found = append(found, name)
		return nil
	}))
	return found
}

// mustRemove takes away what was laid, and checks that the tree is as before and nothing lies aside.
func (w *layTree) mustRemove(t testing.TB, l *laid, before map[string]string) []Shift {
	t.Helper()
	shifts, err := l.remove()
	must(t, err)
	if diff := cmp.Diff(before, looks(t, w.root)); diff != "" {
		t.Errorf("not as before:\n%s", diff)
	}
	if got := entries(t, w.aside); got != nil {
		t.Errorf("aside lie %q", got)
	}
	return shifts
}

// What a process can do to a target or to what is above it, where a mount would have stopped it.
var mutations = []struct {
	name string
	do   func(t testing.TB, w *layTree, target string)
}{
	{"nothing", func(testing.TB, *layTree, string) {}},
	{"removed", func(t testing.TB, w *layTree, target string) { must(t, os.RemoveAll(w.path(target))) }},
	{"moved", func(t testing.TB, w *layTree, target string) { must(t, os.Rename(w.path(target), w.path("elsewhere"))) }},
	{"replaced by a link", func(t testing.TB, w *layTree, target string) {
		must(t, os.RemoveAll(w.path(target)))
		must(t, os.Symlink("/", w.path(target)))
	}},
	{"replaced by a file", func(t testing.TB, w *layTree, target string) {
		must(t, os.RemoveAll(w.path(target)))
		must(t, os.WriteFile(w.path(target), []byte("new"), 0o600))
	}},
	{"replaced by a directory", func(t testing.TB, w *layTree, target string) {
		must(t, os.RemoveAll(w.path(target)))
		must(t, os.MkdirAll(filepath.Join(w.path(target), "new"), 0o700))
	}},
	{"directory above removed", func(t testing.TB, w *layTree, target string) {
		must(t, os.RemoveAll(filepath.Dir(w.path(target))))
	}},
	{"directory above replaced", func(t testing.TB, w *layTree, target string) {
		must(t, os.RemoveAll(filepath.Dir(w.path(target))))
		must(t, os.Mkdir(filepath.Dir(w.path(target)), 0o755))
	}},
	{"directory above replaced by a link", func(t testing.TB, w *layTree, target string) {
		must(t, os.RemoveAll(filepath.Dir(w.path(target))))
		must(t, os.Symlink("/", filepath.Dir(w.path(target))))
	}},
	{"directory above replaced with all", func(t testing.TB, w *layTree, target string) {
		must(t, os.RemoveAll(filepath.Dir(w.path(target))))
		must(t, os.MkdirAll(filepath.Join(w.path(target), "new"), 0o700))
	}},
}

// Whatever a process does to where something is laid, what was there comes back and nothing else stays.
func TestLayComesBack(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	fill(t, source, "file=of the mount", "sub/deep=x")
	for _, mount := range []Mount{
		{Kind: MountTmpfs, Target: "/a/dir"},
		{Kind: MountBind, Source: source, ReadOnly: true, Target: "/a/dir"},
		{Kind: MountFile, Content: []byte("text"), Target: "/b/file"},
		{Kind: MountTmpfs, Target: "/c/new/deep"},
		{Kind: MountFile, Content: []byte("text"), Target: "/c/new/file"},
		{Kind: MountFile, Content: []byte("text"), Target: "/made/a/b/file"},
	} {
		for _, mutation := range mutations {
			t.Run(string(mount.Kind)+mount.Target+" "+mutation.name, func(t *testing.T) {
				t.Parallel()
				w := newLayTree(t, "a/dir/kept=k", "b/file=original", "c/", "etc/x=y")
				before := looks(t, w.root)
				l := w.mustLay(t, mount)
				mutation.do(t, w, mount.Target)
				_, err := l.remove()
				must(t, err)
				after := looks(t, w.root)
				if mutation.name != "nothing" {
					for _, dir := range []string{".", "a", "b", "c"} { // the process has changed their times
						before[dir], _, _ = strings.Cut(before[dir], " 17")
						after[dir], _, _ = strings.Cut(after[dir], " 17")
					}
				}
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("not as before:\n%s", diff)
				}
				if got := entries(t, w.aside); got != nil {
					t.Errorf("aside lie %q", got)
				}
			})
		}
	}
}

// Files of the network are shown, whether the image has them or not, and what becomes of them is nothing to the image.
func TestLayNetworkFiles(t *testing.T) {
	t.Parallel()
	for _, files := range [][]string{
		{"etc/resolv.conf=image", "etc/hosts=image"},
		{"etc/"},
		{"bin/"},
		{"etc/resolv.conf=->../run/resolve/stub", "run/resolve/stub=image"},
		{"etc/resolv.conf=->/run/missing/stub"},
	} {
		w := newLayTree(t, files...)
		before := looks(t, w.root)
		l, err := w.lay(t, Process{ResolvConf: []byte("shown"), Hosts: []byte("shown too")})
		must(t, err)
		at, err := filepath.EvalSymlinks(w.path("etc/hosts"))
		must(t, err)
		content, err := os.ReadFile(at)
		must(t, err)
		if string(content) != "shown too" {
			t.Errorf("%q: hosts: %q", files, content)
		}
		must(t, os.WriteFile(at+".new", []byte("changed"), 0o644))
		must(t, os.Rename(at+".new", at))
		delete(before, "etc") // the process has changed its time
		shifts, err := l.remove()
		must(t, err)
		after := looks(t, w.root)
		delete(after, "etc")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%q: not as before:\n%s", files, diff)
		}
		for _, s := range shifts {
			var st unix.Stat_t
			must(t, unix.Lstat(w.path(s.Path), &st))
			if st.Ctim != s.New || s.Old == s.New {
				t.Errorf("%+v: the file's time is %v", s, st.Ctim)
			}
		}
		if want := strings.Count(strings.Join(files, " "), "=image"); len(shifts) != want {
			t.Errorf("%q: %d files are told to have moved, want %d", files, len(shifts), want)
		}
	}
}

// A directory that something is laid in keeps its time, and a directory that a process changes gets its own.
func TestLayKeepsTimes(t *testing.T) {
	t.Parallel()
	w := newLayTree(t, "etc/resolv.conf=image", "var/x=y")
	before := looks(t, w.root)
	l, err := w.lay(t, Process{ResolvConf: []byte("shown"), Hosts: []byte("shown"), Mounts: []Mount{
		{Kind: MountTmpfs, Target: "/var/a/b"}, {Kind: MountTmpfs, Target: "/new/dir"},
	}})
	must(t, err)
	during := looks(t, w.root)
	for _, dir := range []string{".", "etc", "var"} {
		if before[dir] != during[dir] {
			t.Errorf("%s: %q while laid, %q before", dir, during[dir], before[dir])
		}
	}
	w.mustRemove(t, l, before)

	l = w.mustLay(t, Mount{Kind: MountTmpfs, Target: "/var/a/b"})
	must(t, os.WriteFile(w.path("var/made"), nil, 0o644))
	changed := time.Unix(1800000000, 0)
	must(t, os.Chtimes(w.path("var"), changed, changed))
	_, err = l.remove()
	must(t, err)
	if st, err := os.Stat(w.path("var")); err != nil || !st.ModTime().Equal(changed) {
		t.Errorf("%v, %v; want the process's time", st.ModTime(), err)
	}
}

// Links of a hostile image lead nowhere outside.
func TestLayHostileTargets(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	fill(t, outside, "etc/resolv.conf=host")
	for _, files := range [][]string{
		{"etc=->" + outside + "/etc"},
		{"etc=->../../../../../../../../../.." + outside + "/etc"},
		{"etc/resolv.conf=->" + outside + "/etc/resolv.conf"},
		{"etc/resolv.conf=->../../../../../../../../../../.." + outside + "/etc/resolv.conf"},
		{"etc/resolv.conf=->/proc/self/root" + outside + "/etc/resolv.conf"},
		{"etc/resolv.conf=->/proc/1/root/etc/resolv.conf"},
	} {
		w := newLayTree(t, files...)
		before := looks(t, w.root)
		l, err := w.lay(t, Process{ResolvConf: []byte("shown")})
		must(t, err)
		if diff := cmp.Diff([]string{"etc/", "etc/resolv.conf=host"}, contents(t, outside)); diff != "" {
			t.Errorf("%q: outside:\n%s", files, diff)
		}
		w.mustRemove(t, l, before)
	}
	for _, files := range [][]string{
		{"etc=->etc"}, {"etc=file"}, {"etc/resolv.conf=->/proc/1/root/etc/resolv.conf", "proc/1/root=->/../../.."}, {"etc/resolv.conf=->/"}, {"etc/resolv.conf=->.."}, {"etc/resolv.conf/"},
	} {
		w := newLayTree(t, files...)
		before := looks(t, w.root)
		if _, err := w.lay(t, Process{ResolvConf: []byte("shown")}); err == nil {
			t.Errorf("%q: no error", files)
		}
		if diff := cmp.Diff(before, looks(t, w.root)); diff != "" {
			t.Errorf("%q: not as before:\n%s", files, diff)
		}
	}
}

// A mount can lie below another one, and below one that covers what it would have been laid on.
func TestLayNested(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	fill(t, source, "sub/file=of the mount", "sub/dir/x=y")
	w := newLayTree(t, "mnt/sub/file=hidden", "mnt/a=b")
	before := looks(t, w.root)
	l := w.mustLay(t,
		Mount{Kind: MountBind, Source: source, ReadOnly: true, Target: "/mnt"},
		Mount{Kind: MountTmpfs, Target: "/mnt/new/tmp"},
		Mount{Kind: MountFile, Content: []byte("text"), Target: "/mnt/sub/dir/x"},
		Mount{Kind: MountFile, Content: []byte("text"), Target: "/mnt/sub/file"},
	)
	want := []string{"new/", "new/tmp/", "sub/", "sub/dir/", "sub/dir/x=text", "sub/file=text"}
	if diff := cmp.Diff(want, contents(t, w.path("mnt"))); diff != "" {
		t.Error(diff)
	}
	w.mustRemove(t, l, before)
	if diff := cmp.Diff([]string{"sub/", "sub/dir/", "sub/dir/x=y", "sub/file=of the mount"}, contents(t, source)); diff != "" {
		t.Error(diff)
	}
}

// A directory above a target may be renamed, with a mount below it too: what was covered goes with it.
func TestLayDirectoryAboveRenamed(t *testing.T) {
	t.Parallel()
	w := newLayTree(t, "a/mnt/kept=k")
	l := w.mustLay(t, Mount{Kind: MountTmpfs, Target: "/a/mnt"})
	must(t, os.WriteFile(w.path("a/mnt/lost"), nil, 0o644))
	must(t, os.Rename(w.path("a"), w.path("b")))
	_, err := l.remove()
	must(t, err)
	if diff := cmp.Diff([]string{"b/", "b/mnt/", "b/mnt/kept=k"}, contents(t, w.root)); diff != "" {
		t.Error(diff)
	}
}

// A directory that was made for a mount stays if a process puts something into it.
func TestLayStubInUse(t *testing.T) {
	t.Parallel()
	w := newLayTree(t, "x=y")
	l := w.mustLay(t, Mount{Kind: MountTmpfs, Target: "/a/b/mnt"}, Mount{Kind: MountTmpfs, Target: "/a/c/mnt"})
	must(t, os.WriteFile(w.path("a/own"), nil, 0o644))
	_, err := l.remove()
	must(t, err)
	if diff := cmp.Diff([]string{"a/", "a/own=", "x=y"}, contents(t, w.root)); diff != "" {
		t.Error(diff)
	}
}

// What a killed builder left aside is put back by the next.
func TestLayAfterKilledBuilder(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	w := newLayTree(t, "opt/dir/kept=k", "etc/resolv.conf=image")
	before := looks(t, w.root)
	p := Process{ResolvConf: []byte("shown"), Mounts: []Mount{
		{Kind: MountBind, Source: cache, Target: "/opt/dir"}, {Kind: MountTmpfs, Target: "/opt/dir/kept/../sub"},
	}}
	dead, err := w.lay(t, p)
	must(t, err)
	for _, fd := range dead.fds {
		must(t, unix.Close(fd))
	}
	must(t, closeAll(dead.files))
	must(t, os.WriteFile(w.path("opt/dir/lost"), nil, 0o644))
	l, err := w.lay(t, Process{})
	must(t, err)
	after := looks(t, w.root)
	for _, above := range []string{"etc", "opt"} { // their times went with the builder
		delete(before, above)
		delete(after, above)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("not as before:\n%s", diff)
	}
	w.mustRemove(t, l, looks(t, w.root))
}

// The size of a tmpfs cannot hold; the looks that were asked for do.
func TestLayTmpfs(t *testing.T) {
	t.Parallel()
	w := newLayTree(t, "mnt/x=y")
	before := looks(t, w.root)
	l := w.mustLay(t, Mount{Kind: MountTmpfs, Target: "/mnt"}, Mount{Kind: MountTmpfs, Target: "/two", Mode: 0o700, Size: 1 << 20})
	for name, want := range map[string]fs.FileMode{"mnt": fs.ModeDir | fs.ModeSticky | 0o777, "two": fs.ModeDir | 0o700} {
		if st, err := os.Stat(w.path(name)); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	if got := entries(t, w.path("mnt")); got != nil {
		t.Errorf("it holds %q", got)
	}
	if len(w.notices) != 1 || !strings.Contains(w.notices[0], "/two") {
		t.Errorf("notices: %q", w.notices)
	}
	w.mustRemove(t, l, before)
}

// A socket answers at its target, whatever file system it comes from, and is as it was afterwards.
func TestLaySocket(t *testing.T) {
	t.Parallel()
	dir := shortTemp(t)
	listener, err := net.Listen("unix", dir+"/agent")
	must(t, err)
	defer listener.Close()
	must(t, os.Chmod(dir+"/agent", 0o600))
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 100)
			n, _ := conn.Read(buf)
			fmt.Fprintf(conn, "answer to %s", buf[:n])
			conn.Close()
		}
	}()
	open, err := os.Open(dir)
	must(t, err)
	defer open.Close()
	w := newLayTree(t, "x=y")
	before := looks(t, w.root)
	target := "/run/buildkit/" + strings.Repeat("long", 50)
	l := w.mustLay(t, Mount{Kind: MountBind, File: open, SubPath: "agent", Target: target})
	if st, err := os.Lstat(w.path(target)); err != nil || st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	fd, err := unix.Open(w.path(target), unix.O_PATH, 0)
	must(t, err)
	defer unix.Close(fd)
	for range 3 {
		conn, err := net.Dial("unix", descriptorPath(fd))
		must(t, err)
		fmt.Fprint(conn, "question")
		buf := make([]byte, 100)
		n, err := conn.Read(buf)
		if string(buf[:n]) != "answer to question" {
			t.Errorf("%q, %v", buf[:n], err)
		}
		conn.Close()
	}
	w.mustRemove(t, l, before)
	if _, err := net.Dial("unix", descriptorPath(fd)); err == nil {
		t.Error("it still answers")
	}
}

// shortTemp makes a directory whose name leaves room for that of a socket.
func shortTemp(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A script that is shown can be executed, which nobody can do to a file that is open to be written.
func TestLayScript(t *testing.T) {
	t.Parallel()
	w := newLayTree(t, "dev/")
	l := w.mustLay(t, Mount{Kind: MountFile, Target: "/dev/pipes/script", Content: []byte("#!/bin/sh\necho said"), Mode: 0o755})
	out, err := exec.Command(w.path("dev/pipes/script")).CombinedOutput()
	if err != nil || string(out) != "said\n" {
		t.Errorf("%q, %v", out, err)
	}
	_, err = l.remove()
	must(t, err)
}
