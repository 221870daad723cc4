package rootfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

// capNetRaw is a security.capability value: version 2, cap_net_raw permitted and effective.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// stacks are layers, the lowest first, with whether the last ones depend on files below.
var stacks = map[string]struct {
	layers    [][]item
	entangled bool
}{
	"every type": {layers: [][]item{{
		dir("", 0o711).owned(3, 4), dir("etc", 0o755), file("etc/passwd", "root"), file("etc/empty", ""),
		file("big", strings.Repeat("0123456789abcdef", 20_000)), symlink("etc/link", "/etc/passwd"), symlink("up", "../../.."),
		{Entry: filetree.Entry{Path: "pipe", Type: filetree.FIFO, Mode: 0o622, ModTime: stamp}},
		hardlink("etc/hard", "etc/passwd"), hardlink("etc/hardlink", "etc/link"), dir("none", 0), file("none/x", "x").mode(0),
	}}},
	"owners and special bits": {layers: [][]item{{
		dir("a", 0o3775).owned(7, 8), file("a/suid", "x").owned(1000, 1001).mode(0o6755), file("a/f", "x").owned(0, 5),
		symlink("a/l", "f").owned(9, 10), dir("t", 0o1777),
		{Entry: filetree.Entry{Path: "a/p", Type: filetree.FIFO, Mode: 0o4600, UID: 6, GID: 7, ModTime: stamp}},
	}}},
	"capabilities": {layers: [][]item{{
		{Entry: filetree.Entry{Path: "ping", Type: filetree.Regular, Mode: 0o755, ModTime: stamp, Size: 1, UID: 4, Xattrs: map[string]string{
			"security.capability": capNetRaw, "trusted.overlay.opaque": "y", "user.overlay.whiteout": "y", "trusted.overlay.redirect": "/etc",
		}}, content: "x"},
	}}},
	"overlayfs's marks in a layer's attributes": {layers: [][]item{
		{dir("d", 0o755), file("d/x", "x")},
		{{Entry: filetree.Entry{Path: "d", Type: filetree.Directory, Mode: 0o755, ModTime: stamp, Xattrs: map[string]string{
			"trusted.overlay.opaque": "y", "user.overlay.opaque": "y",
		}}}},
	}},
	"holes": {layers: [][]item{{
		file("begin", strings.Repeat("\x00", 300_000)+"x"), file("middle", "x"+strings.Repeat("\x00", 900_000)+strings.Repeat("y", 300_000)),
		file("end", "x"+strings.Repeat("\x00", 600_000)), file("all", strings.Repeat("\x00", 600_000)),
	}}},
	"hardlinks across many directories": {layers: [][]item{manyLinks()}},
	"times before 1970":                 {layers: [][]item{{{Entry: filetree.Entry{Path: "old", Type: filetree.FIFO, Mode: 0o600, ModTime: -1}}}}},
	"directories keep what layers below say of them": {layers: [][]item{
		{dir("", 0o700), dir("a", 0o750).owned(1, 2), dir("a/b", 0o1711)},
		{file("a/b/x", "x"), file("new/sub/y", "y")},
		{gone("a/b/x"), file("new/z", "z")},
	}},
	"a directory's own entry comes after its files": {layers: [][]item{{file("a/b/x", "x"), dir("a/b", 0o700), dir("a", 0o711)}}},
	"file over directory and directory over file": {layers: [][]item{
		{dir("d", 0o755), file("d/x", "x"), file("f", "f"), dir("l", 0o755), file("l/x", "x")},
		{file("d", "now a file"), dir("f", 0o755), file("f/y", "y"), symlink("l", "f")},
		{dir("d", 0o700), file("d/z", "z")},
	}},
	"whiteouts": {layers: [][]item{
		{dir("d", 0o755), file("d/x", "x"), file("d/y", "y"), file("f", "f"), dir("e", 0o755), file("e/x", "x")},
		{gone("d/x"), gone("f"), gone("e"), gone("missing"), gone("not/there/either"), gone("f/below/a/file")},
		{file("e/new", "n")},
	}},
	"whiteout of what the layer makes": {layers: [][]item{
		{dir("d", 0o755), file("d/x", "x"), dir("e", 0o755), file("e/x", "x"), file("f", "1"), dir("g", 0o755), file("g/x", "x")},
		{gone("d"), dir("d", 0o700), file("d/y", "y"), dir("e", 0o700), file("e/y", "y"), gone("e"), gone("f"), file("f", "2"), file("g/y", "y"), gone("g")},
	}},
	"opaque": {layers: [][]item{
		{dir("d", 0o755), file("d/x", "x"), dir("d/sub", 0o755), file("d/sub/x", "x"), dir("e", 0o711), file("e/x", "x"), file("e/f/g", "")},
		{dir("d", 0o700), file("d/y", "y"), opaque("d"), gone("d/x"), gone("d/sub/x"), opaque("e"), opaque("missing"), dir("d/sub", 0o755)},
	}},
	"whiteouts where overlayfs would show them": {layers: [][]item{
		{dir("d", 0o755), gone("d/never"), file("d/x", "x")},
		{gone("new/never"), dir("new", 0o755)},
	}},
	"whiteout of a directory and of what was in it": {layers: [][]item{
		{dir("d", 0o755), dir("d/e", 0o755), file("d/e/x", "x")},
		{gone("d/e/x"), gone("d/e"), gone("d")},
	}},
	"a path twice": {layers: [][]item{{
		file("f", "first"), file("f", "second"), dir("d", 0o755), file("d/x", "x"), symlink("d", "f"), symlink("s", "a"), file("s", "s"),
		file("h", "h"), hardlink("h2", "h"), file("h", "changed"), hardlink("h3", "h2"), hardlink("h3", "h3"),
		file("g", "g"), dir("g", 0o755), file("g/x", "x"), dir("g", 0o700), hardlink("g/y", "g/x"), hardlink("g/x", "g/y"),
	}}},
	"hardlink to a file below":               {[][]item{{file("f", "f")}, {hardlink("h", "f")}}, true},
	"hardlink to itself below":               {[][]item{{file("f", "f")}, {hardlink("f", "f")}}, true},
	"hardlink to a file below and then anew": {[][]item{{file("f", "old")}, {hardlink("h", "f"), file("f", "new")}}, true},
	"hardlink below a symlink":               {[][]item{{file("d/f", "f"), symlink("l", "d")}, {hardlink("h", "l/f")}}, true},
	"path through a symlink below":           {[][]item{{dir("usr/lib", 0o711), symlink("lib", "usr/lib")}, {file("lib/x", "x")}}, true},
	"path through a symlink of the layer":    {[][]item{{dir("usr/lib", 0o711), symlink("lib", "/usr/lib"), file("lib/x", "x")}}, true},
	"link replaced after a path through":     {[][]item{{dir("usr", 0o711), symlink("lib", "usr")}, {file("lib/x", "x"), dir("lib", 0o700)}}, true},
	"whiteout through a symlink":             {[][]item{{file("usr/x", "x"), symlink("lib", "usr")}, {gone("lib/x")}}, true},
	"opaque through a symlink":               {[][]item{{file("usr/d/x", "x"), symlink("lib", "usr")}, {opaque("lib/d")}}, true},
	"opaque root":                            {[][]item{{file("x", "x")}, {opaque(""), file("y", "y")}}, true},
	"symlinked parent that is not there":     {[][]item{{symlink("lib", "usr/lib")}, {file("lib/x", "x")}}, true},
	"hardlinked symlink as a parent":         {[][]item{{dir("d", 0o755), symlink("l", "d"), hardlink("m", "l"), file("m/x", "x")}}, true},
	"file and then directory":                {[][]item{{file("d/x", "x")}, {file("d", "d"), dir("d", 0o700)}}, false},
	"directory entry in place of a link":     {[][]item{{dir("usr", 0o711), symlink("lib", "usr")}, {dir("lib", 0o700), file("lib/x", "x")}}, false},
	"whiteout under what became a file":      {[][]item{{file("d/x", "x")}, {file("d", "d"), gone("d/x"), opaque("d")}}, false},
	"whiteout of nothing below a new link":   {[][]item{{file("d/x", "x")}, {symlink("d", "e"), gone("d/x")}}, false},
}

// manyLinks is more directories than are kept open, each linked to others.
func manyLinks() []item {
	var items []item
	name := func(i int) string { return fmt.Sprintf("d%02d", i%48) }
	for i := range 48 {
		items = append(items, dir(name(i), 0o755), file(name(i)+"/f", name(i)))
	}
	for i := range 48 {
		for _, step := range []int{1, 16, 17, 31, 32, 33} {
			items = append(items, hardlink(fmt.Sprintf("%s/h%02d", name(i), step), name(i+step)+"/f"))
		}
	}
	return items
}

// TestUnpack compares what overlayfs shows of unpacked layers, and what layers are unpacked to together, with the tree.
func TestUnpack(t *testing.T) {
	t.Parallel()
	for name, tt := range stacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range tt.layers {
				tt.layers[i] = layer(tt.layers[i])
			}
			if entangled := checkStack(t, tt.layers); entangled != tt.entangled {
				t.Errorf("entangled is %v, want %v", entangled, tt.entangled)
			}
		})
	}
}

// checkStack returns whether a layer depends on those below.
func checkStack(t *testing.T, layers [][]item) bool {
	t.Helper()
	all, err := trees(layers)
	if err != nil {
		t.Fatal(err)
	}
	want := rootfstest.Expect(t, all[len(all)-1])
	merged, err := unpackMerged(t, layers)
	if err != nil {
		t.Fatalf("unpack merged: %v", err)
	}
	got, err := rootfstest.Dump(merged)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("merged directory (-tree +disk):\n%s", diff)
	}
	dirs, err := unpack(t, layers, all)
	if errors.Is(err, rootfs.ErrEntangled) {
		return true
	}
	if err != nil {
		t.Fatalf("unpack: %v", err)
	}
	rootfstest.Mount(t, dirs, "", func(d string) { got, err = rootfstest.Dump(d) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("overlay (-tree +disk):\n%s", diff)
	}
	checkFlat(t, dirs, want)
	return false
}

// checkFlat merges all layers but the topmost.
func checkFlat(t *testing.T, dirs []string, want []string) {
	t.Helper()
	flat := t.TempDir()
	if err := rootfs.Flatten(t.Context(), flat, dirs[1:], rootfstest.Options(t).Form); err != nil {
		t.Fatal(err)
	}
	if len(dirs) == 1 {
		return
	}
	var got []string
	var err error
	rootfstest.Mount(t, []string{dirs[0], flat}, "", func(d string) { got, err = rootfstest.Dump(d) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("overlay on flattened layers (-tree +disk):\n%s", diff)
	}
}

// TestUnpackRandom does as TestUnpack with layers that nobody thought of.
func TestUnpackRandom(t *testing.T) {
	t.Parallel()
	alone := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		var layers [][]item
		for range 1 + r.IntN(4) {
			layers = append(layers, layer(randomLayer(r)))
		}
		if _, err := trees(layers); err != nil {
			continue // no runtime would accept them
		}
		if !checkStack(t, layers) {
			alone++
		}
		if t.Failed() {
			t.Fatalf("seed %d: layers %v", seed, layers)
		}
	}
	if alone < 20 {
		t.Errorf("only %d random stacks could be unpacked layer by layer: the test tests little", alone)
	}
}

func randomLayer(r *rand.Rand) []item {
	random := func() string {
		p := make([]string, 1+r.IntN(3))
		for i := range p {
			p[i] = string(rune('a' + r.IntN(4)))
		}
		return strings.Join(p, "/")
	}
	items := make([]item, 0, 8)
	for i := range 1 + r.IntN(8) {
		p := random()
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			items = append(items, dir(p, uint16(0o700+r.IntN(0o77))))
		case 4, 5, 6, 7:
			items = append(items, file(p, fmt.Sprint(p, i)))
		case 8:
			items = append(items, gone(p))
		case 9:
			items = append(items, opaque(p))
		case 10:
			items = append(items, symlink(p, random()))
		case 11:
			if f := random(); f != p {
				items = append(items, hardlink(p, f))
			}
		}
	}
	return items
}

// TestLosses: what cannot be on disk is reported, and is still missing there.
func TestLosses(t *testing.T) {
	t.Parallel()
	mknod := func(p string, major, minor uint32) item {
		return item{Entry: filetree.Entry{Path: p, Type: filetree.CharDevice, Mode: 0o666, Major: major, Minor: minor}}
	}
	items := layer([]item{mknod("null", 1, 3), mknod("zero", 0, 0), hardlink("zero2", "zero"), file("f", "f")})
	all, err := trees([][]item{items})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"zero", "zero2"}
	if rootfstest.InNamespace() {
		want = []string{"null", "zero", "zero2"}
	}
	var got []string
	d := t.TempDir()
	losses, err := rootfs.UnpackMerged(t.Context(), d, []rootfs.Layer{{Entries: entries(items), Read: func(_ context.Context, visit func(filetree.Entry, io.Reader) error) error {
		return visit(items[3].Entry, strings.NewReader("f"))
	}}}, rootfstest.Options(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range losses {
		got = append(got, l.Path)
		if _, err := os.Lstat(d + "/" + l.Path); !errors.Is(err, os.ErrNotExist) || l.Err == nil {
			t.Errorf("%s %q: lost for %v, on disk %v", l.What, l.Path, l.Err, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("losses (-want +got):\n%s", diff)
	}
	if err := unpackOne(t.TempDir(), rootfstest.Options(t), items, all[0], all[1]); !errors.Is(err, rootfs.ErrEntangled) {
		t.Errorf("a hardlink to what cannot be made: got error %v", err)
	}
}

// TestUnpackMergedRefuses holds indexes that are not their layer's.
func TestUnpackMergedRefuses(t *testing.T) {
	t.Parallel()
	read := func(items ...item) func(context.Context, func(filetree.Entry, io.Reader) error) error {
		return func(_ context.Context, visit func(filetree.Entry, io.Reader) error) error {
			for _, x := range items {
				if err := visit(x.Entry, strings.NewReader(x.content)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	two := layer([]item{file("a", "aaaa"), file("b", "bbbb")})
	same := layer([]item{file("a", "aaaa"), file("b", "bbbb")})
	same[1].Offset = same[0].Offset
	longer := layer([]item{file("a", "aaaaa"), file("b", "bbbb")})
	for name, tt := range map[string]struct {
		layer rootfs.Layer
		want  string
	}{
		"content missing":     {rootfs.Layer{Entries: entries(two), Read: read(two[0])}, `content of "b" is not where`},
		"two at one place":    {rootfs.Layer{Entries: entries(same), Read: read(two...)}, "content is where that of"},
		"another size":        {rootfs.Layer{Entries: entries(two), Read: read(longer...)}, "has 5 bytes, its index says 4"},
		"a layer of nonsense": {rootfs.Layer{Entries: entries([]item{hardlink("a", "b")}), Read: read()}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := rootfs.UnpackMerged(t.Context(), t.TempDir(), []rootfs.Layer{tt.layer}, rootfstest.Options(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	short := file("f", "four")
	short.content = "tre"
	shortBig := file("f", strings.Repeat("x", 100_000))
	shortBig.content = shortBig.content[1:]
	tests := map[string]struct {
		items []item
		want  string
	}{
		"content that ends early":      {[]item{short}, "unexpected EOF"},
		"long content that ends early": {[]item{shortBig}, "unexpected EOF"},
		"a file below a file":          {[]item{file("f", ""), file("f/x", "")}, `"f": not a directory`},
		"a hardlink to a directory":    {[]item{dir("d", 0o755), hardlink("h", "d")}, "depends on"},
		"a symlink to nowhere":         {[]item{symlink("l", "")}, "no target"},
		"a root that is a file":        {[]item{file("", "x")}, "root directory"},
		"a name too long":              {[]item{file(strings.Repeat("x", 256), "x")}, "file name too long"},
		"a path too long":              {[]item{file(strings.Repeat("x/", 3000)+"x", "x")}, "file name too long"},
		"a path that leads out":        {[]item{file("../f", "x")}, "not a clean path"},
		"a link that leads out":        {[]item{hardlink("h", "a/../../f")}, "not a clean path"},
		"a type that is none":          {[]item{{Entry: filetree.Entry{Path: "x", Type: 99}}}, "unknown type"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := unpackOne(t.TempDir(), rootfstest.Options(t), tt.items, filetree.Empty(), filetree.Empty())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	t.Run("a directory that is not empty", func(t *testing.T) {
		t.Parallel()
		d := t.TempDir()
		if err := os.WriteFile(d+"/x", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unpackOne(d, rootfstest.Options(t), nil, filetree.Empty(), filetree.Empty()); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("got error %v, want one that says that the directory is not empty", err)
		}
	})
}
