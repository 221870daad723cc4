package filetree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layer reads a layer from a line for each entry: "d a/b", "f a/b content-size", "l a/b target", "h a/b target",
// "- a/b" for a whiteout, "o a" for an opaque one.
func layer(t *testing.T, text string) []Entry {
	t.Helper()
	types := map[string]Type{"d": Directory, "f": Regular, "l": Symlink, "h": Hardlink, "-": Whiteout, "o": Opaque, "p": FIFO}
	var entries []Entry
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) == 1 {
			f = append(f, "/")
		}
		e := Entry{Path: strings.TrimPrefix(f[1], "/"), Type: types[f[0]], Mode: 0o644}
		if e.Type == 0 {
			t.Fatalf("bad line %q", line)
		}
		if e.Type == Directory {
			e.Mode = 0o700
		}
		if len(f) > 2 {
			if e.Type == Regular {
				fmt.Sscan(f[2], &e.Size)
			} else {
				e.Link = f[2]
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// dump writes a tree in the same language.
func dump(t *Tree) string {
	var b strings.Builder
	files := map[any]string{}
	_ = t.Walk("", func(p string, n *Node) (bool, error) {
		if p == "" {
			return true, nil
		}
		if first, ok := files[n.FileID()]; ok {
			fmt.Fprintf(&b, "h %s %s\n", p, first)
			return false, nil
		}
		files[n.FileID()] = p
		switch n.Type() {
		case Directory:
			fmt.Fprintf(&b, "d %s %o\n", p, n.Mode())
		case Symlink:
			fmt.Fprintf(&b, "l %s %s\n", p, n.Link())
		case FIFO:
			fmt.Fprintf(&b, "p %s\n", p)
		default:
			fmt.Fprintf(&b, "f %s %d\n", p, n.Size())
		}
		return true, nil
	})
	return b.String()
}

func TestApply(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		layers []string
		want   string
	}{
		"parents are made":                     {[]string{"f a/b/c 1"}, "d a 755\nd a/b 755\nf a/b/c 1\n"},
		"a later entry says what they are":     {[]string{"f a/b 1\nd a"}, "d a 700\nf a/b 1\n"},
		"directory over directory merges":      {[]string{"d a\nf a/x 1", "d a\nf a/y 2"}, "d a 700\nf a/x 1\nf a/y 2\n"},
		"file over directory":                  {[]string{"d a\nf a/x 1", "f a 2"}, "f a 2\n"},
		"directory over file":                  {[]string{"f a 2", "d a\nf a/x 1"}, "d a 700\nf a/x 1\n"},
		"directory over symlink":               {[]string{"d b\nl a b", "d a\nf a/x 1"}, "d a 700\nf a/x 1\nd b 700\n"},
		"whiteout":                             {[]string{"d a\nf a/x 1\nf a/y 1", "- a/x"}, "d a 700\nf a/y 1\n"},
		"whiteout of nothing":                  {[]string{"d a", "- b/c/d\n- a/x"}, "d a 700\n"},
		"whiteout and made anew, marked after": {[]string{"d a\nf a/old 1", "d a\nf a/new 2\n- a"}, "d a 700\nf a/new 2\n"},
		"opaque hides lower content only":      {[]string{"d a\nf a/old 1", "d a\nf a/new 2\no a"}, "d a 700\nf a/new 2\n"},
		"opaque root":                          {[]string{"f x 1", "f y 1\no "}, "f y 1\n"},
		"parent is a symlink":                  {[]string{"d usr/lib\nl lib usr/lib", "f lib/x 1"}, "l lib usr/lib\nd usr 755\nd usr/lib 700\nf usr/lib/x 1\n"},
		"parent is an absolute symlink":        {[]string{"d usr/lib\nl lib /usr/lib", "f lib/a/x 1"}, "l lib /usr/lib\nd usr 755\nd usr/lib 700\nd usr/lib/a 755\nf usr/lib/a/x 1\n"},
		"parent is a dangling symlink":         {[]string{"l lib usr/lib", "f lib/x 1"}, "l lib usr/lib\nd usr 755\nd usr/lib 755\nf usr/lib/x 1\n"},
		"parent symlink does not escape":       {[]string{"l lib ../../../etc", "f lib/x 1"}, "d etc 755\nf etc/x 1\nl lib ../../../etc\n"},
		"whiteout through a symlink":           {[]string{"d usr\nf usr/x 1\nl lib usr", "- lib/x"}, "l lib usr\nd usr 700\n"},
		"hardlink":                             {[]string{"f a 1\nh b a\nh c a"}, "f a 1\nh b a\nh c a\n"},
		"hardlink to a lower layer":            {[]string{"f a 1", "h b a"}, "f a 1\nh b a\n"},
		"hardlink before its file":             {[]string{"h a b\nf b 1"}, "f a 1\nh b a\n"},
		"hardlink to a symlink":                {[]string{"l a x\nh b a"}, "l a x\nh b a\n"},
		"a replaced name leaves the file":      {[]string{"f a 1\nh b a", "f a 2"}, "f a 2\nf b 1\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := Empty()
			for _, l := range tt.layers {
				below, before := tree, dump(tree)
				var err error
				if tree, err = tree.Apply(layer(t, l), nil); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, dump(below)); diff != "" {
					t.Errorf("the tree below was changed (-before +after):\n%s", diff)
				}
			}
			if diff := cmp.Diff(tt.want, dump(tree)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"below a file":             "f a 1\nf a/b 1",
		"below a link to a file":   "f a 1\nl b a\nf b/c 1",
		"below a loop":             "l a b\nl b a\nf a/x 1",
		"hardlink to nothing":      "h a b",
		"hardlink to a directory":  "d a\nh b a",
		"the root made a file":     "f / 1",
		"the root made a hardlink": "f x 1\nh / x",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tree, err := Empty().Apply(layer(t, text), nil); err == nil {
				t.Errorf("accepted:\n%s", dump(tree))
			}
		})
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	tree, err := Empty().Apply(layer(t, `
		d etc
		f etc/passwd 1
		d usr/bin
		f usr/bin/sh 1
		l bin usr/bin
		l abs /usr/bin
		l up ../../../../etc
		l loop loop
		l file etc/passwd
		l dangling nowhere/x`), nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path   string
		follow Follow
		want   string
		err    error
	}{
		{"/", FollowLast, "", nil},
		{"/bin/sh", FollowLast, "usr/bin/sh", nil},
		{"abs/sh", FollowLast, "usr/bin/sh", nil},
		{"bin", FollowLast, "usr/bin", nil},
		{"bin", KeepLast, "bin", nil},
		{"bin/", KeepLast, "usr/bin", nil},
		{"up/passwd", FollowLast, "etc/passwd", nil},
		{"bin/../bin/sh", FollowLast, "usr/bin/sh", nil},
		{"../../etc/./passwd", FollowLast, "etc/passwd", nil},
		{"loop", FollowLast, "", ErrTooManyLinks},
		{"loop", KeepLast, "loop", nil},
		{"bin/x/y", FollowLast, "usr/bin/x/y", ErrNotExist},
		{"dangling", FollowLast, "nowhere/x", ErrNotExist},
		{"file/x", FollowLast, "etc/passwd/x", ErrNotDirectory},
		{"etc/passwd/..", FollowLast, "etc", ErrNotDirectory},
	}
	for _, tt := range tests {
		got, _, err := tree.Resolve(tt.path, tt.follow)
		if !errors.Is(err, tt.err) || (tt.err == nil) != (err == nil) {
			t.Errorf("Resolve(%q): error %v, want %v", tt.path, err, tt.err)
		}
		if got != tt.want {
			t.Errorf("Resolve(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
}

func TestHardlinkKeepsItsContent(t *testing.T) {
	t.Parallel()
	base, err := Empty().Apply([]Entry{{Path: "a", Type: Regular, Size: 3, Offset: 512}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	linked, err := base.Apply([]Entry{{Path: "b", Type: Hardlink, Link: "a"}, {Path: "c", Type: Hardlink, Link: "b"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"a", "b", "c"} {
		n, _ := linked.Lookup(p)
		if _, ref := n.Source(p); ref.Path != "a" || ref.Offset != 512 {
			t.Errorf("the content of %q is read from %+v", p, ref)
		}
	}
}

func TestSourceThroughSymlink(t *testing.T) {
	t.Parallel()
	tree, err := Empty().Apply(layer(t, "d usr/lib\nl lib usr/lib\nf lib/x 1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := tree.Lookup("usr/lib/x")
	if !ok {
		t.Fatal("the file is not where the symlink leads")
	}
	if _, ref := n.Source("usr/lib/x"); ref.Path != "lib/x" {
		t.Errorf("its source knows it as %q, not as the layer does", ref.Path)
	}
}

func TestCompareIsWalkOrder(t *testing.T) {
	t.Parallel()
	tree, err := Empty().Apply(layer(t, "f a/b/c 1\nf a-b 1\nf a.b/x 1\nf a/b-c 1\nd a0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var walked []string
	_ = tree.Walk("", func(p string, _ *Node) (bool, error) { walked = append(walked, p); return true, nil })
	if !slices.IsSortedFunc(walked, Compare) {
		t.Errorf("walk visits %q", walked)
	}
}

// TestAgainstModel applies random layers to a tree and to a plain map of paths, and compares them.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		tree, model := Empty(), map[string]int64{} // size, or -1 for a directory
		for range 30 {
			p := strings.Join([]string{"abc"[r.IntN(3):][:1], "de"[r.IntN(2):][:1], "fg"[r.IntN(2):][:1]}[:1+r.IntN(3)], "/")
			switch r.IntN(4) {
			case 0:
				tree = mustApply(t, tree, Entry{Path: p, Type: Whiteout})
				modelRemove(model, p)
			case 1:
				if !modelParents(model, p) {
					continue
				}
				tree = mustApply(t, tree, Entry{Path: p, Type: Directory, Mode: 0o755})
				if model[p] != -1 {
					modelRemove(model, p)
				}
				model[p] = -1
			default:
				if !modelParents(model, p) {
					continue
				}
				size := r.Int64N(1000)
				tree = mustApply(t, tree, Entry{Path: p, Type: Regular, Size: size})
				modelRemove(model, p)
				model[p] = size
			}
		}
		got := map[string]int64{}
		_ = tree.Walk("", func(p string, n *Node) (bool, error) {
			if n.IsDir() {
				got[p] = -1
			} else {
				got[p] = n.Size()
			}
			return true, nil
		})
		delete(got, "")
		if diff := cmp.Diff(model, got); diff != "" {
			t.Fatalf("seed %d (-model +tree):\n%s", seed, diff)
		}
	}
}

func mustApply(t *testing.T, tree *Tree, e Entry) *Tree {
	t.Helper()
	next, err := tree.Apply([]Entry{e}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func modelRemove(model map[string]int64, p string) {
	for q := range model {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(model, q)
		}
	}
}

func modelParents(model map[string]int64, p string) bool {
	var missing []string
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if size, ok := model[d]; ok && size >= 0 {
			return false
		}
		missing = append(missing, d)
	}
	for _, d := range missing {
		model[d] = -1
	}
	return true
}

// TestMemory holds DESIGN §6: an index costs at most 150 bytes a file.
func TestMemory(t *testing.T) {
	const files = 100_000
	entries := make([]Entry, 0, files)
	for i := range files {
		entries = append(entries, Entry{Path: fmt.Sprintf("usr/share/doc/package-%03d/file-%06d", i/50, i), Type: Regular, Size: 1})
	}
	before := heap()
	tree, err := Empty().Apply(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	held := heap() - before
	t.Logf("%d bytes a file", held/files)
	if held/files > 150 {
		t.Errorf("a tree of %d files takes %d bytes a file", files, held/files)
	}
	runtime.KeepAlive(tree)
	runtime.KeepAlive(entries)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
