package rootfs_test

import (
	"errors"
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
