//go:build amd64

package executor

import (
	"os"
	"path/filepath"
	"testing"
)

// A secret is never on the disk, but there is a directory that it is in.
func TestSupervisedSecret(t *testing.T) {
	t.Parallel()
	root := newPlain(t)
	must(t, os.Symlink("run", filepath.Join(root.Dir, "link")))
	with := func(uid uint32, dir string, args ...string) Process {
		p := command(args...)
		p.User, p.Dir = User{UID: uid, GID: uid}, dir
		p.Mounts = []Mount{{Kind: MountSecret, Target: "/run/secrets/key", Content: []byte("hush"), Mode: 0o400}}
		return p
	}
	for _, ways := range []struct{ dir, name string }{
		{"/", "/run/secrets/key"},
		{"/", "/run/../run/secrets/key"},
		{"/", "run/secrets/key"},
		{"/run/secrets", "key"},
		{"/run/secrets", "./key"},
		{"/run/secrets/", "../../link/secrets/key"},
		{"/", "/link/secrets/key"},
	} {
		if got := mustThere(t, root, with(0, ways.dir, "all", "cat", ways.name, ";", "kind", ways.name)); got != "hush-r--------" {
			t.Errorf("%v: got %q", ways, got)
		}
		if got, err := tryThere(t, root, with(1000, ways.dir, "cat", ways.name)); err == nil {
			t.Errorf("%v: another user reads %q", ways, got)
		}
		if got, err := tryThere(t, root, with(0, ways.dir, "append", ways.name, "x")); err == nil {
			t.Errorf("%v: it can be written: %q", ways, got)
		}
	}
	if got := mustThere(t, root, with(0, "/run/secrets", "write", "other", "x")); got != "" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Lstat(filepath.Join(root.Dir, "run/secrets/key")); err == nil {
		t.Error("the secret is on the disk")
	}
}
