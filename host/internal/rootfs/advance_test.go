package rootfs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

// TestAdvance unpacks the lowest layer of each stack and makes in that directory what the others change.
func TestAdvance(t *testing.T) {
	t.Parallel()
	for name, tt := range stacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layers := make([][]item, len(tt.layers))
			for i := range tt.layers {
				layers[i] = layer(tt.layers[i])
			}
			all, err := trees(layers)
			if err != nil {
				t.Fatal(err)
			}
			dir, err := unpackMerged(t, layers[:1])
			if err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(layers); i++ {
				changes, err := filetree.Diff(all[i], all[i+1])
				if err != nil {
					t.Fatal(err)
				}
				if _, err := rootfs.Advance(t.Context(), dir, changes, rootfstest.Options(t)); err != nil {
					t.Fatal(err)
				}
				expectOnDisk(t, dir, all[i+1])
			}
		})
	}
}

// TestAdvanceFromElsewhere makes layers that are not as Trowel writes them. What comes more than once is left to who unpacks all
// layers together.
func TestAdvanceFromElsewhere(t *testing.T) {
	t.Parallel()
	for name, items := range map[string][]item{
		"not in order": {
			file("d/f", "1"), dir("there/sub", 0o700), dir("there/a", 0o755), file("there/a-b", "x"), file("there/a/f", "f"), dir("d", 0o2711).owned(3, 4),
		},
		"deleted and made anew":       {dir("there/sub", 0o700), file("there/sub/g", "g"), gone("there/sub"), opaque("there"), file("there/old", "new")},
		"parent that no layer has":    {file("a/b", "x")},
		"twice":                       {dir("d", 0o755), file("d/f", "1"), file("d/g", "g"), file("d/f", "2")},
		"twice, a link at last":       {dir("d", 0o755), file("d/f", "1"), symlink("d/f", "g")},
		"twice, a file at last":       {dir("d", 0o755), symlink("d/f", "g"), file("d/f", "1")},
		"directory twice":             {dir("d", 0o755), dir("d/e", 0o755), file("d/e/x", "x"), dir("d/e", 0o700)},
		"twice, below what is twice":  {dir("d", 0o755), dir("d/z", 0o755), file("d/z/x", "x"), file("d/a", "a"), dir("d", 0o711), file("d/z/x", "y")},
		"new in what is there":        {dir("there", 0o755), dir("there/new", 0o2755), file("there/new/x", "x"), symlink("there/old", "x"), dir("there/sub", 0o755), file("there/sub/f", "new")},
		"new, and then what is there": {dir("aside", 0o755), file("aside/x", "x"), dir("aside.d", 0o755), dir("there", 0o755), file("there/old", "new")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layers := [][]item{
				layer([]item{dir("there", 0o755), file("there/old", "old"), dir("there/sub", 0o755), file("there/sub/f", "f"), symlink("aside.d", "there")}),
				layer(items),
			}
			all, err := trees(layers)
			if err != nil {
				t.Fatal(err)
			}
			d, err := unpackMerged(t, layers[:1])
			if err != nil {
				t.Fatal(err)
			}
			var changes []filetree.Change
			for _, x := range layers[1] {
				c := filetree.Change{Entry: x.Entry}
				if c.Type == filetree.Regular {
					c.Source, c.From = source(layers[1]), filetree.Ref{Offset: c.Offset, Size: c.Size}
				}
				changes = append(changes, c)
			}
			_, err = rootfs.Advance(t.Context(), d, changes, rootfstest.Options(t))
			if again := strings.Contains(name, "twice") || strings.Contains(name, "no layer has"); again != errors.Is(err, rootfs.ErrEntangled) || err != nil && !again {
				t.Fatal(err)
			} else if !again {
				expectOnDisk(t, d, all[2])
			}
		})
	}
}

// expectOnDisk compares a directory with a tree, but for the times of directories, which change when something in them does.
func expectOnDisk(t *testing.T, dir string, tree *filetree.Tree) {
	t.Helper()
	got, err := rootfstest.Dump(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rootfstest.WithoutDirectoryTimes(rootfstest.Expect(t, tree)), rootfstest.WithoutDirectoryTimes(got)); diff != "" {
		t.Errorf("directory (-tree +disk):\n%s", diff)
	}
}

// TestAdvanceFollowsNoSymlink does not let a layer's path lead out of the directory.
func TestAdvanceFollowsNoSymlink(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for name, change := range map[string]item{
		"file": file("out/x", "x"), "directory": dir("out/x", 0o755), "symlink": symlink("out/x", "y"), "whiteout": gone("out/x"),
		"opaque": opaque("out"), "hardlink": hardlink("out/x", "f"), "hardlink to what is outside": hardlink("g", "out/secret"),
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := unpackMerged(t, [][]item{layer([]item{file("f", "f"), symlink("out", outside)})})
			if err != nil {
				t.Fatal(err)
			}
			items := layer([]item{change})
			c := filetree.Change{Entry: items[0].Entry}
			if c.Type == filetree.Regular {
				c.Source, c.From = source(items), filetree.Ref{Offset: c.Offset, Size: c.Size}
			}
			_, err = rootfs.Advance(t.Context(), dir, []filetree.Change{c}, rootfstest.Options(t))
			if !errors.Is(err, rootfs.ErrEntangled) {
				t.Errorf("advance: %v, want %v", err, rootfs.ErrEntangled)
			}
			if left, err := rootfstest.Dump(outside); err != nil || len(left) != 1 {
				t.Errorf("outside: %q, %v", left, err)
			}
		})
	}
}
