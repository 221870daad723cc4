package executor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// otherFileSystem makes a directory on another file system than that of the tests' directories.
func otherFileSystem(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "trowel-test")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	var here, there unix.Stat_t
	must(t, unix.Stat(t.TempDir(), &here))
	must(t, unix.Stat(dir, &there))
	if here.Dev == there.Dev {
		t.Fatal("the tests' directory is in /dev/shm too")
	}
	return dir
}

// A cache keeps what a process leaves in it, whatever the process does to the directory, and nothing of it gets into the tree.
func TestLayCache(t *testing.T) {
	t.Parallel()
	kept := map[string][]string{
		"removed":                            nil,
		"replaced by a link":                 nil,
		"replaced by a file":                 nil,
		"replaced by a directory":            {"new/"},
		"directory above removed":            nil,
		"directory above replaced":           nil,
		"directory above replaced by a link": nil,
		"directory above replaced with all":  {"new/"},
	}
	for _, place := range []struct {
		name string
		make func(t testing.TB) string
	}{
		{"same file system", func(t testing.TB) string { t.Helper(); return t.TempDir() }},
		{"another file system", otherFileSystem},
	} {
		for _, target := range []string{"/a/dir", "/b/new", "/c/new/deep"} {
			for _, mutation := range mutations {
				t.Run(place.name+target+" "+mutation.name, func(t *testing.T) {
					t.Parallel()
					cache := place.make(t)
					fill(t, cache, "old=o", "changed=x", "sub/gone=g")
					must(t, os.Chmod(cache, 0o750))
					w := newLayTree(t, "a/dir/kept=k", "b/", "c/", "etc/x=y")
					before := contents(t, w.root)
					l := w.mustLay(t, Mount{Kind: MountBind, Source: cache, Target: target})
					if diff := cmp.Diff([]string{"changed=x", "old=o", "sub/", "sub/gone=g"}, contents(t, w.path(target))); diff != "" {
						t.Errorf("shown:\n%s", diff)
					}
					must(t, os.WriteFile(w.path(target)+"/changed", []byte("y"), 0o644))
					must(t, os.WriteFile(w.path(target)+"/sub/made", []byte("m"), 0o644))
					must(t, os.Remove(w.path(target)+"/sub/gone"))
					mutation.do(t, w, target)
					_, err := l.remove()
					must(t, err)
					want, ok := kept[mutation.name]
					if !ok {
						want = []string{"changed=y", "old=o", "sub/", "sub/made=m"}
					}
					if diff := cmp.Diff(want, contents(t, cache)); diff != "" {
						t.Errorf("the cache has\n%s", diff)
					}
					if diff := cmp.Diff(before, contents(t, w.root)); diff != "" {
						t.Errorf("the tree has\n%s", diff)
					}
					if st, err := os.Stat(cache); err != nil || st.Mode().Perm() != 0o750 {
						t.Errorf("the cache's mode is %v, %v", st.Mode(), err)
					}
				})
			}
		}
	}
}

// Of a cache on another file system only what changed is written back, and a change cannot be hidden by setting times.
func TestLayCacheCopiesBackWhatChanged(t *testing.T) {
	t.Parallel()
	cache := otherFileSystem(t)
	fill(t, cache, "same=s", "hidden=x", "sub/same=s", "dir/file=f", "file=f", "looks=l", "link=->same", "one=1")
	must(t, os.Link(cache+"/one", cache+"/two"))
	before := looks(t, cache)
	w := newLayTree(t, "mnt/")
	time.Sleep(20 * time.Millisecond) // the clock of a file system ticks slowly
	l := w.mustLay(t, Mount{Kind: MountBind, Source: cache, Target: "/mnt"})
	if diff := cmp.Diff(slices.Sorted(slices.Values(contents(t, cache))), contents(t, w.path("mnt"))); diff != "" {
		t.Error(diff)
	}
	var one, two unix.Stat_t
	must(t, unix.Stat(w.path("mnt/one"), &one))
	must(t, unix.Stat(w.path("mnt/two"), &two))
	if one.Ino != two.Ino {
		t.Error("two names of a file are two files in the copy")
	}
	time.Sleep(20 * time.Millisecond)
	st, err := os.Stat(w.path("mnt/hidden"))
	must(t, err)
	must(t, os.WriteFile(w.path("mnt/hidden"), []byte("y"), 0o644))
	must(t, os.Chtimes(w.path("mnt/hidden"), st.ModTime(), st.ModTime()))
	must(t, os.Chmod(w.path("mnt/looks"), 0o600))
	must(t, os.RemoveAll(w.path("mnt/dir")))
	must(t, os.WriteFile(w.path("mnt/dir"), []byte("a file"), 0o644))
	must(t, os.Remove(w.path("mnt/file")))
	must(t, os.MkdirAll(w.path("mnt/file/deep"), 0o700))
	_, err = l.remove()
	must(t, err)
	after := looks(t, cache)
	for _, name := range []string{"same", "sub/same", "sub", "link", "one", "two"} {
		if before[name] != after[name] {
			t.Errorf("%s: it was %s, and is %s", name, before[name], after[name])
		}
	}
	want := []string{"dir=a file", "file/", "file/deep/", "hidden=y", "link=->same", "looks=l", "one=1", "same=s", "sub/", "sub/same=s", "two=1"}
	if diff := cmp.Diff(want, contents(t, cache)); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(after["looks"], "100600 ") {
		t.Errorf("looks: %s", after["looks"])
	}
}

// What is written to a read-only cache is not kept.
func TestLayCacheReadOnly(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	fill(t, cache, "file=f", "sub/x=y")
	before := looks(t, cache)
	w := newLayTree(t, "mnt/")
	tree := looks(t, w.root)
	l := w.mustLay(t, Mount{Kind: MountBind, Source: cache, Target: "/mnt", ReadOnly: true})
	must(t, os.WriteFile(w.path("mnt/file"), []byte("changed"), 0o644))
	must(t, os.RemoveAll(w.path("mnt/sub")))
	w.mustRemove(t, l, tree)
	if diff := cmp.Diff(before, looks(t, cache)); diff != "" {
		t.Error(diff)
	}
}

// Two processes that share a cache have it one after the other, in whatever order they name several; who waits says so, and
// can be cancelled.
func TestLayCacheShared(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	first := newLayTree(t, "x=y")
	l := first.mustLay(t, Mount{Kind: MountBind, Source: one, Target: "/mnt"})
	must(t, os.WriteFile(first.path("mnt/file"), []byte("first"), 0o644))

	second := newLayTree(t, "x=y")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	root, err := os.Open(second.root)
	must(t, err)
	aside, err := os.Open(second.aside)
	must(t, err)
	var notices []string
	p := Process{Mounts: []Mount{{Kind: MountBind, Source: one, Target: "/mnt"}}, Notice: func(text string) { notices = append(notices, text) }}
	if _, err := lay(ctx, root, aside, p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "/mnt") {
		t.Errorf("notices: %q", notices)
	}
	_, err = l.remove()
	must(t, err)

	var g sync.WaitGroup
	for i, mounts := range [][]Mount{
		{{Kind: MountBind, Source: one, Target: "/a"}, {Kind: MountBind, Source: two, Target: "/b"}},
		{{Kind: MountBind, Source: two, Target: "/a"}, {Kind: MountBind, Source: one, Target: "/b"}},
		{{Kind: MountBind, Source: two, Target: "/b", ReadOnly: true}, {Kind: MountBind, Source: one, Target: "/a"}},
	} {
		g.Go(func() {
			w := newLayTree(t, "x=y")
			before := looks(t, w.root)
			for range 20 {
				l := w.mustLay(t, mounts...)
				for _, m := range mounts {
					path := w.path(m.Target) + "/" + string(rune('a'+i))
					text, err := os.ReadFile(path)
					if err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
					must(t, os.WriteFile(path, append(text, '.'), 0o644))
				}
				w.mustRemove(t, l, before)
			}
		})
	}
	g.Wait()
	dots := strings.Repeat(".", 20)
	if diff := cmp.Diff([]string{"a=" + dots, "b=" + dots, "c=" + dots, "file=first"}, contents(t, one)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a=" + dots, "b=" + dots}, contents(t, two)); diff != "" {
		t.Error(diff)
	}
}

// A process that mounts a cache twice sees the same files twice.
func TestLayCacheTwice(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	fill(t, cache, "file=f", "sub/x=y", "subtle/x=z")
	w := newLayTree(t, "etc/x=y")
	before := looks(t, w.root)
	l := w.mustLay(t,
		Mount{Kind: MountBind, Source: cache, Target: "/a/whole"}, Mount{Kind: MountBind, Source: cache, SubPath: "sub", Target: "/b"},
		Mount{Kind: MountBind, Source: cache, Target: "/c"})
	for link, want := range map[string]string{"b": "/a/whole/sub", "c": "/a/whole"} {
		if got, err := os.Readlink(w.path(link)); got != want {
			t.Errorf("%s leads to %q, %v", link, got, err)
		}
	}
	w.mustRemove(t, l, before)
	l = w.mustLay(t, Mount{Kind: MountBind, Source: cache, SubPath: "sub", Target: "/a"}, Mount{Kind: MountBind, Source: cache, SubPath: "subtle", Target: "/b"})
	must(t, os.WriteFile(w.path("b/new"), nil, 0o644))
	w.mustRemove(t, l, before)
	if _, err := w.lay(t, Process{Mounts: []Mount{
		{Kind: MountBind, Source: cache, SubPath: "sub", Target: "/a"}, {Kind: MountBind, Source: cache, Target: "/b"},
	}}); err == nil || !strings.Contains(err.Error(), "/b") {
		t.Errorf("err = %v", err)
	}
	if diff := cmp.Diff([]string{"file=f", "sub/", "sub/x=y", "subtle/", "subtle/new=", "subtle/x=z"}, contents(t, cache)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, looks(t, w.root)); diff != "" {
		t.Error(diff)
	}
}

// No file is in a cache and in a tree: a process that made a hardlink gets a copy.
func TestLayCacheHardlinks(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	fill(t, cache, "out=o", "sub/pair=p", "inner=i", "own=n")
	must(t, os.Link(cache+"/sub/pair", cache+"/pair"))
	must(t, os.Link(cache+"/own", cache+"/sub/own"))
	w := newLayTree(t, "bin/in=b")
	l := w.mustLay(t, Mount{Kind: MountBind, Source: cache, Target: "/mnt"})
	must(t, os.Link(w.path("mnt/out"), w.path("out")))
	must(t, os.Link(w.path("mnt/pair"), w.path("pair")))
	must(t, os.Link(w.path("bin/in"), w.path("mnt/sub/in")))
	must(t, os.Link(w.path("mnt/inner"), w.path("mnt/sub/inner")))
	_, err := l.remove()
	must(t, err)
	inTree := map[string]string{}
	for name, look := range looks(t, w.root) {
		if strings.Contains(look, "links") {
			inTree[inodeIn(look)] = name
			if !strings.Contains(look, "links 1 ") {
				t.Errorf("%s: %s", name, look)
			}
		}
	}
	after := looks(t, cache)
	for name, look := range after {
		if other := inTree[inodeIn(look)]; other != "" {
			t.Errorf("%s in the cache is %s in the tree", name, other)
		}
	}
	for _, pair := range [][2]string{{"pair", "sub/pair"}, {"inner", "sub/inner"}, {"own", "sub/own"}} {
		if after[pair[0]] != after[pair[1]] || !strings.Contains(after[pair[0]], "links 2 ") {
			t.Errorf("%s: %s; %s: %s", pair[0], after[pair[0]], pair[1], after[pair[1]])
		}
	}
	want := []string{"inner=i", "out=o", "own=n", "pair=p", "sub/", "sub/in=b", "sub/inner=i", "sub/own=n", "sub/pair=p"}
	if diff := cmp.Diff(want, contents(t, cache)); diff != "" {
		t.Error(diff)
	}
}

func inodeIn(look string) string {
	_, rest, _ := strings.Cut(look, " inode ")
	number, _, _ := strings.Cut(rest, " ")
	return number
}

// A file of a cache can be mounted alone: what a process writes to it is kept.
func TestLayCacheFile(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	fill(t, cache, "file=f")
	w := newLayTree(t, "etc/file=image")
	before := looks(t, w.root)
	l := w.mustLay(t, Mount{Kind: MountBind, Source: cache, SubPath: "file", Target: "/etc/file"})
	must(t, os.WriteFile(w.path("etc/file"), []byte("changed"), 0o644))
	w.mustRemove(t, l, before)
	if diff := cmp.Diff([]string{"file=changed"}, contents(t, cache)); diff != "" {
		t.Error(diff)
	}
}

// A mount inside a cache leaves in it what a real one would: the target that had to be made, and what it covered.
func TestLayInsideCache(t *testing.T) {
	t.Parallel()
	for _, cache := range []string{t.TempDir(), otherFileSystem(t)} {
		fill(t, cache, "covered/x=y", "file=f")
		w := newLayTree(t, "mnt/")
		before := looks(t, w.root)
		l := w.mustLay(t, Mount{Kind: MountBind, Source: cache, Target: "/mnt"}, Mount{Kind: MountTmpfs, Target: "/mnt/covered"},
			Mount{Kind: MountFile, Content: []byte("text"), Target: "/mnt/file"}, Mount{Kind: MountTmpfs, Target: "/mnt/new/deep"},
			Mount{Kind: MountFile, Content: []byte("text"), Target: "/mnt/made"})
		must(t, os.WriteFile(w.path("mnt/covered/lost"), nil, 0o644))
		w.mustRemove(t, l, before)
		want := []string{"covered/", "covered/x=y", "file=f", "made=", "new/", "new/deep/"}
		if diff := cmp.Diff(want, contents(t, cache)); diff != "" {
			t.Errorf("%s:\n%s", filepath.Dir(cache), diff)
		}
	}
}
