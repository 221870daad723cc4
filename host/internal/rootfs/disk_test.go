package rootfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRemoveAll(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	must(t, os.WriteFile(outside+"/canary", nil, 0o600))
	d := t.TempDir() + "/tree"
	must(t, os.MkdirAll(d+"/a/b/c", 0o755))
	must(t, os.WriteFile(d+"/a/b/c/f", nil, 0))
	must(t, os.Symlink(outside, d+"/a/out"))
	must(t, os.Symlink("/", d+"/root"))
	must(t, unix.Mkfifo(d+"/a/p", 0))
	must(t, os.Chmod(d+"/a/b/c", 0))
	must(t, os.Chmod(d+"/a/b", 0o500))
	must(t, os.Chmod(d+"/a", 0))
	// A directory deeper than a process may hold open, and than PATH_MAX.
	fd, err := unix.Open(d, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range 3000 {
		must(t, unix.Mkdirat(fd, "deep", 0o755))
		next, err := unix.Openat(fd, "deep", unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = next
	}
	must(t, unix.Close(fd))
	must(t, rootfs.RemoveAll(d))
	if _, err := os.Lstat(d); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("tree is still there: %v", err)
	}
	if _, err := os.Stat(outside + "/canary"); err != nil {
		t.Errorf("canary: %v", err)
	}
	must(t, rootfs.RemoveAll(d))
	must(t, rootfs.RemoveAll(d+"/missing/too"))
	// A link in the place of the tree is deleted, not followed.
	must(t, os.Symlink(outside, d))
	must(t, rootfs.RemoveAll(d+"/"))
	if _, err := os.Stat(outside + "/canary"); err != nil {
		t.Errorf("canary: %v", err)
	}
}

// TestRemoveAllFewDescriptors runs TestRemoveAll where not every level of a tree can be held open.
// TestRemoveAllAtOnce has several remove the same tree: what one finds gone is no error.
func TestRemoveAllAtOnce(t *testing.T) {
	t.Parallel()
	d := t.TempDir() + "/tree"
	for round := range 50 {
		for i := range 40 {
			must(t, os.MkdirAll(fmt.Sprintf("%s/%d/%d/a/b", d, i%4, i), 0o755))
			must(t, os.WriteFile(fmt.Sprintf("%s/%d/%d/a/f", d, i%4, i), nil, 0o600))
		}
		var all errgroup.Group
		for range 4 {
			all.Go(func() error { return rootfs.RemoveAll(d) })
		}
		if err := all.Wait(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if _, err := os.Lstat(d); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("round %d: the tree is still there: %v", round, err)
		}
	}
}

func TestRemoveAllFewDescriptors(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -n 200 && exec "$0" '-test.run=^TestRemoveAll$'`, os.Args[0])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDirSource(t *testing.T) {
	t.Parallel()
	d := t.TempDir()
	must(t, os.Mkdir(d+"/d", 0o755))
	must(t, os.WriteFile(d+"/d/f", []byte("content"), 0o600))
	must(t, os.Symlink("f", d+"/d/l"))
	must(t, os.Symlink("d", d+"/dl"))
	must(t, unix.Mkfifo(d+"/p", 0o600))
	s, err := rootfs.OpenSource(d)
	must(t, err)
	defer func() { must(t, s.Close()) }()

	r, err := s.Open(t.Context(), filetree.Ref{Path: "d/f", Size: 7})
	must(t, err)
	got, err := io.ReadAll(r)
	must(t, err)
	if string(got) != "content" {
		t.Errorf("got %q", got)
	}
	must(t, r.Close())
	if err := r.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}

	for name, ref := range map[string]filetree.Ref{
		"too small": {Path: "d/f", Size: 8}, "too large": {Path: "d/f", Size: 6}, "a link": {Path: "d/l", Size: 7},
		"through a link": {Path: "dl/f", Size: 7}, "a FIFO": {Path: "p"}, "a directory": {Path: "d", Size: 4096},
		"outside": {Path: "../" + d[strings.LastIndexByte(d, '/')+1:] + "/d/f", Size: 7}, "absolute": {Path: d + "/d/f", Size: 7}, "missing": {Path: "x"},
	} {
		if r, err := s.Open(t.Context(), ref); err == nil {
			must(t, r.Close())
			t.Errorf("%s: was opened", name)
		}
	}

	// What changes while it is read is an error.
	r, err = s.Open(t.Context(), filetree.Ref{Path: "d/f", Size: 7})
	must(t, err)
	must(t, os.Truncate(d+"/d/f", 3))
	if _, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a file that shrank: got error %v", err)
	}
	must(t, r.Close())
	r, err = s.Open(t.Context(), filetree.Ref{Path: "d/f", Size: 3})
	must(t, err)
	must(t, os.Truncate(d+"/d/f", 9))
	if _, err := io.ReadAll(r); err == nil || !strings.Contains(err.Error(), "grew") {
		t.Errorf("a file that grew: got error %v", err)
	}
	must(t, r.Close())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Open(ctx, filetree.Ref{Path: "d/f", Size: 9}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got error %v", err)
	}
}
