package executor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMachine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		where      surrounding
	}{
		{"workstation", "own PID namespace", surrounding{mountPoint{"/", "/", "ext4"}, true, "systemd"}},
		{"composefs", "own PID namespace", surrounding{mountPoint{"/", "/", "overlay"}, true, "systemd"}},
		{"chroot on a workstation", "own PID namespace", surrounding{mountPoint{}, true, "init"}},
		{"WSL", "process 1 is init", surrounding{mountPoint{"/", "/", "ext4"}, false, "init"}},
		{"Docker", "", surrounding{mountPoint{"/", "/", "overlay"}, false, "trowel"}},
		{"Docker, a shell", "", surrounding{mountPoint{"/", "/", "overlay"}, false, "sh"}},
		{"systemd in Docker", "", surrounding{mountPoint{"/", "/", "overlay"}, false, "systemd"}},
		{"btrfs driver", "", surrounding{mountPoint{"/", "/docker/btrfs/subvolumes/0f", "btrfs"}, false, "init"}},
		{"LXC", "", surrounding{mountPoint{"/", "/var/lib/lxc/ci/rootfs", "ext4"}, false, "systemd"}},
		{"Kata", "", surrounding{mountPoint{"/", "/", "virtiofs"}, false, "trowel"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.where.machine(); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("machine = %q, want %q", got, tt.want)
			}
		})
	}
}

// The tests' own machine is none to overwrite.
func TestDisposableHere(t *testing.T) {
	t.Parallel()
	if _, err := os.Lstat(DisposableMark); err == nil {
		t.Fatalf("this machine has %s", DisposableMark)
	}
	for _, consent := range []Consent{ConsentImage, ConsentUser} {
		err := Disposable(consent)
		where, whereErr := surroundings()
		must(t, whereErr)
		if consent == ConsentUser && where.machine() == "" {
			must(t, err) // in a container
			continue
		}
		if err == nil || !strings.Contains(hintOf(err), DisposableMark) {
			t.Errorf("consent of %q: %v, hint %q", consent, err, hintOf(err))
		}
	}
}

func hintOf(err error) string {
	if setup, ok := errors.AsType[*SetupError](err); ok {
		return setup.Hint
	}
	return ""
}

func TestMarked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		make func(root string)
		want bool
	}{
		{"marked", func(string) {}, true},
		{"missing", func(root string) { must(t, os.Remove(root+"/kaniko/mark")) }, false},
		{"writable", func(root string) { must(t, os.Chmod(root+"/kaniko/mark", 0o666)) }, false},
		{"somebody's", func(root string) {
			if os.Lchown(root+"/kaniko/mark", 1000, 1000) != nil { // one ID
				must(t, os.Remove(root+"/kaniko/mark"))
			}
		}, false},
		{"directory", func(root string) {
			must(t, os.Remove(root+"/kaniko/mark"))
			must(t, os.Mkdir(root+"/kaniko/mark", 0o755))
		}, false},
		{"link", func(root string) {
			must(t, os.Rename(root+"/kaniko/mark", root+"/kaniko/other"))
			must(t, os.Symlink("other", root+"/kaniko/mark"))
		}, false},
		{"linked directory", func(root string) {
			must(t, os.Rename(root+"/kaniko", root+"/elsewhere"))
			must(t, os.Symlink("elsewhere", root+"/kaniko"))
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			must(t, os.Mkdir(filepath.Join(root, "kaniko"), 0o755))
			must(t, os.WriteFile(filepath.Join(root, "kaniko/mark"), nil, 0o644))
			tt.make(root)
			fd, err := openDirectory(root)
			must(t, err)
			defer unix.Close(fd)
			if err := marked(fd, "/kaniko/mark"); (err == nil) != tt.want {
				t.Errorf("marked: %v, want %v", err, tt.want)
			}
		})
	}
}

// A mark on a mount says nothing of what is around the mount.
func TestMarkedByMount(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "kaniko"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "mark"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(root, "kaniko/mark"), nil, 0o644))
	inOwnMountNamespace(t, func() {
		must(t, unix.Mount(root+"/mark", root+"/kaniko/mark", "", unix.MS_BIND, ""))
		fd, err := openDirectory(root)
		must(t, err)
		defer unix.Close(fd)
		if err := marked(fd, "/kaniko/mark"); err == nil {
			t.Error("a mounted mark counts")
		}
	})
}

func TestParseMountInfo(t *testing.T) {
	t.Parallel()
	text := `24 19 0:6 / /dev rw,relatime shared:2 - devtmpfs devtmpfs rw,size=1k
900 800 0:52 /volumes/a /a\040b/c\134d ro - ext4 /dev/vda rw
901 800 0:53 / / rw master:1 propagate_from:2 - overlay none rw,lowerdir=/x - y
`
	got, err := parseMountInfo(text)
	must(t, err)
	want := []mountPoint{{"/dev", "/", "devtmpfs"}, {`/a b/c\d`, "/volumes/a", "ext4"}, {"/", "/", "overlay"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := parseMountInfo("nonsense\n"); err == nil {
		t.Error("read nonsense")
	}
}
