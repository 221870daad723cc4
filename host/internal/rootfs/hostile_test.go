package rootfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

// TestHostileLayers unpacks layers that want out, in both ways, and looks at what is outside.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	mknod := func(p string) item {
		return item{Entry: filetree.Entry{Path: p, Type: filetree.CharDevice, Mode: 0o666, Major: 1, Minor: 3}}
	}
	tests := map[string]func(outside string) [][]item{
		"..":                   func(string) [][]item { return [][]item{{file("../canary", "evil")}} },
		".. in the middle":     func(string) [][]item { return [][]item{{file("a/../../canary", "evil")}} },
		"absolute":             func(out string) [][]item { return [][]item{{file(out+"/canary", "evil")}} },
		"directory ..":         func(string) [][]item { return [][]item{{dir("..", 0o777)}} },
		"hardlink to ..":       func(string) [][]item { return [][]item{{hardlink("h", "../canary"), file("h", "evil")}} },
		"hardlink to absolute": func(out string) [][]item { return [][]item{{hardlink("h", out+"/canary")}} },
		"hardlink through a symlink": func(out string) [][]item {
			return [][]item{{symlink("l", out), hardlink("h", "l/canary"), file("h", "evil")}}
		},
		"whiteout of ..":          func(string) [][]item { return [][]item{{gone("../canary")}} },
		"whiteout of absolute":    func(out string) [][]item { return [][]item{{gone(out + "/canary")}} },
		"opaque ..":               func(string) [][]item { return [][]item{{opaque("..")}} },
		"whiteout through a link": func(out string) [][]item { return [][]item{{symlink("l", out)}, {gone("l/canary"), opaque("l")}} },
		"file through a link":     func(out string) [][]item { return [][]item{{symlink("l", out), file("l/canary", "evil")}} },
		"file through ..":         func(string) [][]item { return [][]item{{symlink("l", ".."), file("l/canary", "evil")}} },
		"file through links": func(string) [][]item {
			return [][]item{{symlink("a", ".."), symlink("b", "a/.."), file("b/canary", "evil")}}
		},
		"file through a lower link": func(out string) [][]item { return [][]item{{symlink("l", out)}, {file("l/canary", "evil")}} },
		"directory through a link":  func(out string) [][]item { return [][]item{{symlink("l", out), dir("l/d", 0o777)}} },
		"device through a link":     func(out string) [][]item { return [][]item{{symlink("l", out), mknod("l/null")}} },
		"symlink through a link":    func(out string) [][]item { return [][]item{{symlink("l", out), symlink("l/x", "y")}} },
		"file over a link":          func(out string) [][]item { return [][]item{{symlink("l", out+"/canary"), file("l", "mine")}} },
		"directory over a link": func(out string) [][]item {
			return [][]item{{symlink("l", out), dir("l", 0o777).owned(5, 5), file("l/canary", "mine")}}
		},
		"modes through a link": func(out string) [][]item {
			return [][]item{{symlink("l", out+"/canary").owned(5, 5), hardlink("m", "l"), file("x", "x")}}
		},
		"removal through a link": func(out string) [][]item {
			return [][]item{{dir("d", 0o755), symlink("d/l", out), file("d", "now a file")}}
		},
		"device twice": func(string) [][]item { return [][]item{{mknod("n"), file("n", "x"), mknod("n"), mknod("n")}} },
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Both layers' directories lie in this one, beside the canary.
			outside := t.TempDir()
			if err := os.WriteFile(outside+"/canary", []byte("alive"), 0o640); err != nil {
				t.Fatal(err)
			}
			before := canary(t, outside)
			layers := make(outside)
			for i := range layers {
				layers[i] = layer(layers[i])
			}
			// What a tree cannot be made of gets an empty one: the unpackers must hold on their own.
			all, err := trees(layers)
			if err != nil {
				all = []*filetree.Tree{filetree.Empty(), filetree.Empty(), filetree.Empty()}
			}
			var failures []error
			for i, items := range layers {
				d := filepath.Join(outside, "layer", string(rune('0'+i)))
				if err := os.MkdirAll(d, 0o755); err != nil {
					t.Fatal(err)
				}
				failures = append(failures, unpackOne(d, rootfstest.Options(t), items, all[i], all[i+1]))
			}
			d := filepath.Join(outside, "layer", "merged")
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
			failures = append(failures, unpackMergedInto(t, d, layers))
			if diff := cmp.Diff(before, canary(t, outside)); diff != "" {
				t.Errorf("outside (-before +after): %s\nerrors %v", diff, failures)
			}
		})
	}
}

// canary describes all but the directory that is unpacked into.
func canary(t *testing.T, outside string) []string {
	t.Helper()
	if err := os.RemoveAll(outside + "/layer"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(outside, stampTime, stampTime); err != nil {
		t.Fatal(err)
	}
	lines, err := rootfstest.Dump(outside)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
