package rootfs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
)

// targets names directories with a trailing slash.
func targets(paths ...string) []rootfs.Target {
	var out []rootfs.Target
	for _, p := range paths {
		t := rootfs.Target{Path: p, Type: filetree.Regular}
		if trimmed := strings.TrimSuffix(p, "/"); trimmed != p {
			t = rootfs.Target{Path: trimmed, Type: filetree.Directory}
		}
		out = append(out, t)
	}
	return out
}

var stubBase = []item{
	dir("", 0o711), dir("etc", 0o751).owned(3, 4), file("etc/hosts", "h"), dir("proc", 0o555),
	symlink("etc/resolv.conf", "../run/systemd/stub.conf"), symlink("etc/absolute", "/run/abs"), symlink("etc/up", "../../../../missing/../etc/new"),
	symlink("loop", "loop"), symlink("etc/link", "hosts"), file("f", "f"), dir("full", 0o755), file("full/x", "x"), symlink("dirlink", "full"),
}

func TestMakeStubs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		targets  []rootfs.Target
		resolved []string
		added    []string // "name/" for a directory
	}{
		"nothing is missing":  {targets("/etc/hosts", "/proc/", "etc/link", "/dirlink/"), []string{"etc/hosts", "proc", "etc/hosts", "full"}, nil},
		"a file":              {targets("/etc/hostname"), []string{"etc/hostname"}, []string{"etc/hostname"}},
		"directories":         {targets("/dev/", "/sys/", "/dev/"), []string{"dev", "sys", "dev"}, []string{"dev/", "sys/"}},
		"where a link leads":  {targets("/etc/resolv.conf"), []string{"run/systemd/stub.conf"}, []string{"run/", "run/systemd/", "run/systemd/stub.conf"}},
		"an absolute link":    {targets("/etc/absolute"), []string{"run/abs"}, []string{"run/", "run/abs"}},
		"a link up and about": {targets("/etc/up"), []string{"etc/new"}, []string{"etc/new"}},
		"below a link":        {targets("/dirlink/sub/y"), []string{"full/sub/y"}, []string{"full/sub/", "full/sub/y"}},
		"one below another":   {targets("/a/b/", "/a/b/c", "/a/b/d/"), []string{"a/b", "a/b/c", "a/b/d"}, []string{"a/", "a/b/", "a/b/c", "a/b/d/"}},
		"dots":                {targets("/etc/../x/./y/"), []string{"x/y"}, []string{"x/", "x/y/"}},
	}
	items := layer(stubBase)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := trees([][]item{items})
			if err != nil {
				t.Fatal(err)
			}
			lowers, err := unpack(t, [][]item{items}, all)
			if err != nil {
				t.Fatal(err)
			}
			stubDir := t.TempDir()
			stubs, err := rootfs.MakeStubs(stubDir, all[1], tt.targets, rootfstest.Options(t))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.resolved, stubs.Targets); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
			if stubs.Made != (len(tt.added) > 0) {
				t.Errorf("made is %v", stubs.Made)
			}
			// The view is the tree's, with the stubs and nothing else.
			e := all[1].Edit()
			for _, p := range tt.added {
				x := filetree.Entry{Path: p, Type: filetree.Regular, Mode: 0o644}
				if trimmed := strings.TrimSuffix(p, "/"); trimmed != p {
					x = filetree.Entry{Path: trimmed, Type: filetree.Directory, Mode: 0o755}
				}
				if err := e.Put(x, nil, filetree.Ref{}); err != nil {
					t.Fatal(err)
				}
			}
			want := rootfstest.Expect(t, e.Tree())
			if stubs.Made {
				lowers = append([]string{stubDir}, lowers...)
			}
			var got []string
			rootfstest.Mount(t, lowers, "", func(dir string) { got, err = rootfstest.Dump(dir) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("overlay (-tree +disk):\n%s", diff)
			}
		})
	}
}

func TestMakeStubsRefuses(t *testing.T) {
	t.Parallel()
	all, err := trees([][]item{layer(stubBase)})
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"/f/":         `"/f": "f" is a file, and a directory`,
		"/etc":        `"/etc": "etc" is a directory, and a file`,
		"/etc/hosts/": `"etc/hosts" is a file`,
		"/f/below":    "not a directory",
		"/loop":       "too many levels",
		"/loop/x/":    "too many levels",
		"/":           "root directory",
		"/..":         "root directory",
	} {
		t.Run(strings.ReplaceAll(target, "/", "_"), func(t *testing.T) {
			t.Parallel()
			_, err := rootfs.MakeStubs(t.TempDir(), all[1], targets(target), rootfstest.Options(t))
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), strings.TrimSuffix(target, "/")) {
				t.Errorf("got error %v, want one with %q", err, want)
			}
		})
	}
}

// TestMakeUpper: an overlay's root directory looks as its upper directory does.
func TestMakeUpper(t *testing.T) {
	t.Parallel()
	items := layer(stubBase)
	all, err := trees([][]item{items})
	if err != nil {
		t.Fatal(err)
	}
	lowers, err := unpack(t, [][]item{items}, all)
	if err != nil {
		t.Fatal(err)
	}
	upper := t.TempDir()
	if err := rootfs.MakeUpper(upper, all[1], rootfstest.Options(t)); err != nil {
		t.Fatal(err)
	}
	var got []string
	rootfstest.Mount(t, lowers, upper, func(dir string) { got, err = rootfstest.Dump(dir) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rootfstest.Expect(t, all[1]), got); diff != "" {
		t.Errorf("overlay (-tree +disk):\n%s", diff)
	}
}
