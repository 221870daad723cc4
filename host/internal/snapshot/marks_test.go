package snapshot_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

// upperOf reads an upper directory that make filled.
func upperOf(t *testing.T, make func(dir, prefix string)) ([]filetree.Change, error) {
	t.Helper()
	opts := rootfstest.Options(t)
	entries, source := base()
	lower, err := filetree.Empty().Apply(entries, source)
	if err != nil {
		t.Fatal(err)
	}
	upper := t.TempDir()
	make(upper, opts.Form.Prefix())
	return snapshot.Upper(t.Context(), upper, lower, snapshot.Options{Form: opts.Form, Owners: opts.Owners})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMarks holds what a RUN cannot be made to leave behind at will.
func TestMarks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		make func(t *testing.T, dir, prefix string)
		want []string
	}{
		"whiteouts of nothing": {func(t *testing.T, dir, _ string) {
			must(t, unix.Mknod(dir+"/missing", unix.S_IFCHR, 0))
			must(t, unix.Mknod(dir+"/f", unix.S_IFCHR, 0))
		}, []string{"whiteout f"}},
		"whiteouts as files": {func(t *testing.T, dir, prefix string) {
			must(t, unix.Setxattr(dir, prefix+"opaque", []byte("x"), 0))
			for _, name := range []string{"f", "missing", "empty"} {
				must(t, os.WriteFile(dir+"/"+name, nil, 0o600))
				must(t, unix.Setxattr(dir+"/"+name, prefix+"whiteout", []byte("y"), 0))
			}
		}, []string{"whiteout empty", "whiteout f"}},
		"a directory that is only said to hold such files": {func(t *testing.T, dir, prefix string) {
			must(t, os.Mkdir(dir+"/d", 0o755))
			must(t, unix.Setxattr(dir+"/d", prefix+"opaque", []byte("x"), 0))
		}, nil},
		"an opaque directory that is new": {func(t *testing.T, dir, prefix string) {
			must(t, os.Mkdir(dir+"/n", 0o755))
			must(t, unix.Setxattr(dir+"/n", prefix+"opaque", []byte("y"), 0))
		}, []string{"directory n"}},
		"sockets": {func(t *testing.T, dir, _ string) {
			must(t, unix.Mknod(dir+"/s", unix.S_IFSOCK|0o600, 0))
			must(t, unix.Mknod(dir+"/f", unix.S_IFSOCK|0o600, 0))
		}, []string{"whiteout f"}},
		"attributes of no layer": {func(t *testing.T, dir, prefix string) {
			must(t, os.WriteFile(dir+"/n", nil, 0o600))
			must(t, unix.Setxattr(dir+"/n", prefix+"origin", []byte("?"), 0))
			must(t, unix.Setxattr(dir+"/n", "user.note", []byte(strings.Repeat("x", 2000)), 0))
			for i := range 20 { // a list longer than the first buffer
				must(t, unix.Setxattr(dir+"/n", "user."+strings.Repeat(string(rune('a'+i)), 60), []byte("x"), 0))
			}
		}, []string{"file n"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes, err := upperOf(t, func(dir, prefix string) { tt.make(t, dir, prefix) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, list(changes)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			for _, c := range changes {
				if len(c.Xattrs) > 0 {
					t.Errorf("%q has attributes %v", c.Path, c.Xattrs)
				}
			}
		})
	}
}

func TestUpperRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		make func(t *testing.T, dir, prefix string)
		want string
	}{
		"redirect": {func(t *testing.T, dir, prefix string) {
			must(t, os.Mkdir(dir+"/n", 0o755))
			must(t, unix.Setxattr(dir+"/n", prefix+"redirect", []byte("/d"), 0))
		}, "redirect_dir"},
		"metacopy": {func(t *testing.T, dir, prefix string) {
			must(t, os.WriteFile(dir+"/f", nil, 0o600))
			must(t, unix.Setxattr(dir+"/f", prefix+"metacopy", nil, 0))
		}, "metacopy"},
		"a path longer than any": {func(t *testing.T, dir, _ string) {
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
			must(t, err)
			for range 18 {
				name := strings.Repeat("n", 250)
				must(t, unix.Mkdirat(fd, name, 0o755))
				next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY, 0)
				must(t, err)
				must(t, unix.Close(fd))
				fd = next
			}
			must(t, unix.Close(fd))
			t.Cleanup(func() { must(t, rootfs.RemoveAll(dir)) })
		}, "longer than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := upperOf(t, func(dir, prefix string) { tt.make(t, dir, prefix) })
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
	t.Run("no directory", func(t *testing.T) {
		t.Parallel()
		_, err := snapshot.Upper(t.Context(), t.TempDir()+"/missing", filetree.Empty(), snapshot.Options{})
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got error %v, want one that says that the directory is missing", err)
		}
	})
	t.Run("a build that ended", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := snapshot.Upper(ctx, t.TempDir(), filetree.Empty(), snapshot.Options{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
}

// TestOwners: where an owner is not mapped, a file that has the owner it can only have keeps the one it had.
func TestOwners(t *testing.T) {
	t.Parallel()
	_, _, changes := run(t, `chmod 600 foreign; echo >n`)
	want := map[string][2]uint32{"foreign": {33, 44}, "n": {0, 0}}
	got := map[string][2]uint32{}
	for _, c := range changes {
		got[c.Path] = [2]uint32{c.UID, c.GID}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
}

// TestChangedMeanwhile: the source gives no other bytes than those that were listed.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	var upper string
	changes, err := upperOf(t, func(dir, _ string) {
		upper = dir
		must(t, os.WriteFile(dir+"/n", []byte("text"), 0o600))
	})
	if err != nil || len(changes) != 1 {
		t.Fatal(err, changes)
	}
	must(t, os.WriteFile(upper+"/n", []byte("texts"), 0o600))
	if r, err := changes[0].Source.Open(t.Context(), changes[0].From); err == nil {
		must(t, r.Close())
		t.Error("a file that grew was opened")
	}
	must(t, os.Remove(upper+"/n"))
	must(t, os.Symlink("/etc/passwd", upper+"/n"))
	if r, err := changes[0].Source.Open(t.Context(), changes[0].From); err == nil {
		must(t, r.Close())
		t.Error("a symlink was followed")
	}
}
