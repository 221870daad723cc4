package snapshot

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// TestStrays changes a directory after it was recorded, in all ways, and without its record's being told.
func TestStrays(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(at func(string) string) error
		want []string
	}{
		"nothing":   {func(at func(string) string) error { _, err := os.ReadFile(at("d/file")); return err }, nil},
		"mode":      {func(at func(string) string) error { return os.Chmod(at("d/file"), 0o600) }, []string{"d/file"}},
		"same mode": {func(at func(string) string) error { return os.Chmod(at("d/file"), 0o644) }, []string{"d/file"}},
		"content, time kept": {func(at func(string) string) error {
			info, err := os.Stat(at("d/file"))
			if err == nil {
				err = os.WriteFile(at("d/file"), []byte("evil"), 0o644)
			}
			if err == nil {
				err = os.Chtimes(at("d/file"), info.ModTime(), info.ModTime())
			}
			return err
		}, []string{"d/file"}},
		"deleted":   {func(at func(string) string) error { return os.RemoveAll(at("d")) }, []string{"d"}},
		"made":      {func(at func(string) string) error { return os.Mkdir(at("d/new"), 0o755) }, []string{"d/new"}},
		"directory": {func(at func(string) string) error { return os.Chmod(at("d"), 0o700) }, []string{"d"}},
		"top":       {func(at func(string) string) error { return os.Chmod(at(""), 0o700) }, []string{""}},
		"another name": {
			func(at func(string) string) error { return os.Link(at("d/file"), at("other")) }, []string{"d/file", "other"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			r := recorded(t, dir)
			if err := tt.do(at); err != nil {
				t.Fatal(err)
			}
			got, err := r.Strays(t.Context(), Options{})
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// recorded makes a few files and records them.
func recorded(t *testing.T, dir string) *Record {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("d"), 0o755), os.WriteFile(at("d/file"), []byte("text"), 0o644), os.Symlink("d", at("link")),
		unix.Mkfifo(at("pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := Take(t.Context(), dir, Options{})
	if err == nil {
		err = r.Await(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRecordHolds compares a record with the tree of which the directory was made, and with others.
func TestRecordHolds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := recorded(t, dir)
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "d/file"), &st); err != nil {
		t.Fatal(err)
	}
	all := func(change func([]filetree.Entry) []filetree.Entry) *filetree.Tree {
		entries := []filetree.Entry{
			{Path: "d", Type: filetree.Directory, Mode: 0o755},
			{Path: "d/file", Type: filetree.Regular, Mode: 0o644, Size: 4},
			{Path: "link", Type: filetree.Symlink, Mode: 0o777, Link: "d"},
			{Path: "pipe", Type: filetree.FIFO, Mode: 0o600},
		}
		for i := range entries {
			entries[i].UID, entries[i].GID, entries[i].ModTime = st.Uid, st.Gid, st.Mtim.Sec*1e9
			var own unix.Stat_t
			if err := unix.Lstat(filepath.Join(dir, entries[i].Path), &own); err != nil {
				t.Fatal(err)
			}
			entries[i].ModTime = own.Mtim.Sec * 1e9
		}
		tree, err := filetree.Empty().Apply(change(entries), nil)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	type list = []filetree.Entry
	for name, tt := range map[string]struct {
		change func(list) list
		want   bool
	}{
		"same":         {func(l list) list { return l }, true},
		"mode":         {func(l list) list { l[1].Mode = 0o4644; return l }, false},
		"directory":    {func(l list) list { l[0].Mode = 0o700; return l }, false},
		"owner":        {func(l list) list { l[1].UID++; return l }, false},
		"group":        {func(l list) list { l[2].GID++; return l }, false},
		"time":         {func(l list) list { l[1].ModTime -= 1e9; return l }, false},
		"size":         {func(l list) list { l[1].Size = 5; return l }, false},
		"type":         {func(l list) list { l[3].Type = filetree.Regular; return l }, false},
		"one more":     {func(l list) list { return append(l, filetree.Entry{Path: "z", Type: filetree.FIFO}) }, false},
		"one less":     {func(l list) list { return l[:3] }, false},
		"another name": {func(l list) list { l[3].Path = "pope"; return l }, false},
	} {
		if got := r.Holds(all(tt.change), rootfs.Owners{}); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestUntouchedButYoung doubts what was changed no earlier than it was recorded: within a tick of the clock nobody could tell.
func TestUntouchedButYoung(t *testing.T) {
	t.Parallel()
	r := recorded(t, t.TempDir())
	for _, young := range []bool{false, true} {
		if young {
			r.taken = r.root.dir.files[1].ctime // of "link", the files that were made before being older
		}
		untouched, err := NewOrigin(r).Untouched(t.Context(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if untouched("link") == young {
			t.Errorf("young %v: untouched %v", young, !young)
		}
	}
}
