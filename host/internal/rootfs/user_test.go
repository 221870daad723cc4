package rootfs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
)

const passwdText = `root:x:0:0:root:/root:/bin/sh
# comment:x:5:5::/:/
app:x:1000:1001:App:/home/app:/bin/sh
  spaced:x:1002:1002::/home/spaced:
1000:x:0:0:evil:/evil:/bin/sh
typo:x:abc:0::/:
short:x:1003
nohome:x:1004:1004:::

app:x:1:1:second:/second:
twin:x:1000:7::/home/twin:
`

const groupText = `root:x:0:root
wheel:x:10:root,app
audio:x:29:app,twin,app
appgrp:x:1001:app
1000:x:0:
bad:x:zz:app
docker:x:999
`

func userTree(t *testing.T, items ...item) *filetree.Tree {
	t.Helper()
	all, err := trees([][]item{layer(items)})
	if err != nil {
		t.Fatal(err)
	}
	return all[1]
}

func TestLookupUser(t *testing.T) {
	t.Parallel()
	plain := userTree(t, file("etc/passwd", passwdText), file("etc/group", groupText))
	linked := userTree(t, file("usr/p", passwdText), symlink("etc/passwd", "/../usr/p"), symlink("etc/group", "../usr/g"), file("usr/g", groupText))
	none := filetree.Empty()
	tests := []struct {
		spec string
		tree *filetree.Tree
		want rootfs.User
		err  string
	}{
		{"", plain, rootfs.User{Groups: []uint32{0, 10}, Home: "/root"}, ""},
		{"root", plain, rootfs.User{Groups: []uint32{0, 10}, Home: "/root"}, ""},
		{"app", plain, rootfs.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 10, 29}, Home: "/home/app"}, ""},
		{"app", linked, rootfs.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 10, 29}, Home: "/home/app"}, ""},
		{"1000", plain, rootfs.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 10, 29}, Home: "/home/app"}, ""},
		{"twin", plain, rootfs.User{UID: 1000, GID: 7, Groups: []uint32{7, 29}, Home: "/home/app"}, ""},
		{"spaced", plain, rootfs.User{UID: 1002, GID: 1002, Groups: []uint32{1002}, Home: "/home/spaced"}, ""},
		{"short", plain, rootfs.User{UID: 1003, Groups: []uint32{0}, Home: "/"}, ""},
		{"nohome", plain, rootfs.User{UID: 1004, GID: 1004, Groups: []uint32{1004}, Home: "/"}, ""},
		{"4242", plain, rootfs.User{UID: 4242, Groups: []uint32{0}, Home: "/"}, ""},
		{"app:audio", plain, rootfs.User{UID: 1000, GID: 29, Groups: []uint32{29}, Home: "/home/app"}, ""},
		{"app:docker", plain, rootfs.User{UID: 1000, GID: 999, Groups: []uint32{999}, Home: "/home/app"}, ""},
		{"app:55", plain, rootfs.User{UID: 1000, GID: 55, Groups: []uint32{55}, Home: "/home/app"}, ""},
		{"app:", plain, rootfs.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 10, 29}, Home: "/home/app"}, ""},
		{":audio", plain, rootfs.User{GID: 29, Groups: []uint32{29}, Home: "/root"}, ""},
		{"4242:1000", plain, rootfs.User{UID: 4242, GID: 1000, Groups: []uint32{1000}, Home: "/"}, ""},
		{"4294967294:0", plain, rootfs.User{UID: 4294967294, Groups: []uint32{0}, Home: "/"}, ""},
		{"", none, rootfs.User{Groups: []uint32{0}, Home: "/"}, ""},
		{"root", none, rootfs.User{Groups: []uint32{0}, Home: "/"}, ""},
		{"root:root", none, rootfs.User{Groups: []uint32{0}, Home: "/"}, ""},
		{"7:8", none, rootfs.User{UID: 7, GID: 8, Groups: []uint32{8}, Home: "/"}, ""},
		{"typo", plain, rootfs.User{}, "no such name"},
		{"nobody", plain, rootfs.User{}, `no such name: "nobody" in the image's /etc/passwd`},
		{"app:nogroup", plain, rootfs.User{}, `no such name: "nogroup" in the image's /etc/group`},
		{"app:bad", plain, rootfs.User{}, "no such name"},
		{"app:audio:x", plain, rootfs.User{}, "no such name"},
		{"app", none, rootfs.User{}, "no such name"},
		{"4294967295", plain, rootfs.User{}, "not between"},
		{"-1", plain, rootfs.User{}, "not between"},
		{"99999999999999999999", plain, rootfs.User{}, "not between"},
	}
	for _, tt := range tests {
		t.Run("spec "+tt.spec, func(t *testing.T) {
			t.Parallel()
			got, err := rootfs.LookupUser(t.Context(), tt.tree, tt.spec)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookupOwner(t *testing.T) {
	t.Parallel()
	plain := userTree(t, file("etc/passwd", passwdText), file("etc/group", groupText))
	for spec, want := range map[string][2]uint32{
		"": {0, 0}, "root": {0, 0}, "1000": {1000, 1000}, "app": {1000, 1001}, "app:audio": {1000, 29}, "1000:audio": {1000, 29},
		"5:6": {5, 6}, ":audio": {0, 29}, "app:": {1000, 1001}, "4242": {4242, 4242}, "1000:1000": {1000, 1000}, "root:root": {0, 0}, "5:root": {5, 0},
	} {
		uid, gid, err := rootfs.LookupOwner(t.Context(), plain, spec)
		if err != nil {
			t.Errorf("%q: %v", spec, err)
		}
		if got := [2]uint32{uid, gid}; got != want {
			t.Errorf("%q is %v, want %v", spec, got, want)
		}
	}
	for _, spec := range []string{"nobody", "app:nogroup", "nobody:0"} {
		if _, _, err := rootfs.LookupOwner(t.Context(), plain, spec); !errors.Is(err, rootfs.ErrUnknownUser) {
			t.Errorf("%q: got error %v, want %v", spec, err, rootfs.ErrUnknownUser)
		}
	}
}

func TestAssume(t *testing.T) {
	t.Parallel()
	plain := userTree(t, file("etc/passwd", passwdText), file("etc/group", groupText))
	for spec, want := range map[string][3]uint32{ // the last is how much was not known
		"": {0, 0, 0}, "app": {1000, 1001, 0}, "app:audio": {1000, 29, 0}, "nobody": {0, 0, 1}, "nobody:audio": {0, 29, 1},
		"app:nogroup": {1000, 1001, 1}, "nobody:nogroup": {0, 0, 2}, "nobody:7": {0, 7, 1}, "5:nogroup": {5, 5, 1},
	} {
		var missing uint32
		uid, gid, err := rootfs.Assume(t.Context(), plain, spec, func(err error) {
			if missing++; !errors.Is(err, rootfs.ErrUnknownUser) {
				t.Errorf("%q: missing is %v", spec, err)
			}
		})
		if err != nil {
			t.Errorf("%q: %v", spec, err)
		}
		if got := [3]uint32{uid, gid, missing}; got != want {
			t.Errorf("%q is %v, want %v", spec, got, want)
		}
	}
}

// TestUserFiles: what an image has at /etc/passwd need not be what is expected there.
func TestUserFiles(t *testing.T) {
	t.Parallel()
	huge := file("etc/passwd", "")
	huge.Size = 1 << 30 // without content: reading any of it fails
	tests := map[string]struct {
		items []item
		want  string
	}{
		"huge":              {[]item{huge}, "more than the 10485760"},
		"a directory":       {[]item{dir("etc/passwd", 0o755)}, "is a directory"},
		"a FIFO":            {[]item{{Entry: filetree.Entry{Path: "etc/passwd", Type: filetree.FIFO}}}, "is a fifo"},
		"a loop":            {[]item{symlink("etc/passwd", "passwd")}, "too many levels"},
		"a dangling link":   {[]item{symlink("etc/passwd", "/proc/self/root/etc/passwd")}, "no such name"},
		"a file as its dir": {[]item{file("etc", "x")}, "no such name"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := userTree(t, tt.items...)
			for _, lookup := range []func() error{
				func() error { _, err := rootfs.LookupUser(t.Context(), tree, "app"); return err },
				func() error { _, _, err := rootfs.LookupOwner(t.Context(), tree, "app"); return err },
			} {
				if err := lookup(); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got error %v, want one with %q", err, tt.want)
				}
			}
			// Nobody asked for a name.
			for _, spec := range []string{"", "1:2"} {
				if _, err := rootfs.LookupUser(t.Context(), tree, spec); err != nil {
					t.Errorf("%q: %v", spec, err)
				}
			}
		})
	}
}
