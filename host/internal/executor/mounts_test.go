package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// What is mounted over the image's files is seen, read-only, and never becomes part of the layer.
func TestResolvConf(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 2)
	p := command("cat", "/etc/resolv.conf", "/etc/hosts")
	p.ResolvConf, p.Hosts = []byte("nameserver 192.0.2.1\n"), []byte("127.0.0.1 localhost\n")
	if got := mustOutput(t, r, p); got != "nameserver 192.0.2.1\n127.0.0.1 localhost" {
		t.Errorf("got %q", got)
	}
	p.Args = []string{"inside", "append", "/etc/hosts", "x"}
	if _, err := outputOf(t, r, p); err == nil {
		t.Error("/etc/hosts can be written")
	}
	p.Args = []string{"inside", "true"}
	mustOutput(t, r, p)
	if got := entries(t, r.Upper); got != nil {
		t.Errorf("upper holds %q", got)
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	must(t, os.MkdirAll(filepath.Join(base(r), "mnt"), 0o755))
	must(t, os.WriteFile(filepath.Join(base(r), "mnt/hidden"), nil, 0o644))
	source := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(source, "sub/deep"), 0o755))
	must(t, os.WriteFile(filepath.Join(source, "sub/deep/file"), []byte("deep"), 0o644))
	must(t, os.Symlink("/sub", filepath.Join(source, "absolute")))
	must(t, os.Symlink("/etc", filepath.Join(source, "outside")))
	open, err := os.Open(source)
	must(t, err)
	defer open.Close()
	layers := newRootfs(t, 2)
	layers.Upper, layers.Work = "", ""
	single := newRootfs(t, 1)
	single.Upper, single.Work = "", ""
	for _, tt := range []struct {
		name  string
		mount Mount
		args  []string
		want  string // or part of the error
		fails bool
	}{
		{"bind", Mount{Kind: MountBind, Source: source, Target: "/mnt"}, []string{"cat", "/mnt/sub/deep/file"}, "deep", false},
		{"bind is writable", Mount{Kind: MountBind, Source: source, Target: "/mnt"}, []string{"write", "/mnt/new", "x"}, "", false},
		{"bind read-only", Mount{Kind: MountBind, Source: source, Target: "/mnt", ReadOnly: true}, []string{"write", "/mnt/new", "x"}, "read-only", true},
		{"bind by descriptor", Mount{Kind: MountBind, File: open, Target: "/mnt"}, []string{"cat", "/mnt/sub/deep/file"}, "deep", false},
		{"sub-path", Mount{Kind: MountBind, File: open, SubPath: "sub/deep", Target: "/mnt"}, []string{"ls", "/mnt"}, "file", false},
		{"sub-path by a link inside", Mount{Kind: MountBind, Source: source, SubPath: "absolute/deep", Target: "/mnt"}, []string{"ls", "/mnt"}, "file", false},
		{"sub-path by a link outside", Mount{Kind: MountBind, Source: source, SubPath: "outside", Target: "/mnt"}, nil, "no such file", true},
		{"sub-path with dots", Mount{Kind: MountBind, Source: source, SubPath: "../../sub/deep", Target: "/mnt"}, []string{"ls", "/mnt"}, "file", false},
		{"tmpfs", Mount{Kind: MountTmpfs, Target: "/mnt", Size: 1 << 20}, []string{"all", "ls", "/mnt", ";", "write", "/mnt/x", "", ";", "ls", "/mnt"}, "x", false},
		{"file", Mount{Kind: MountFile, Target: "/mnt/hidden", Content: []byte("text"), Mode: 0o400}, []string{"cat", "/mnt/hidden"}, "text", false},
		{"file is read-only", Mount{Kind: MountFile, Target: "/mnt/hidden"}, []string{"append", "/mnt/hidden", "x"}, "read-only", true},
		{"file below /dev", Mount{Kind: MountFile, Target: "/dev/pipes/a/script", Content: []byte("text")}, []string{"cat", "/dev/pipes/a/script"}, "text", false},
		{"directory below /dev", Mount{Kind: MountBind, Source: source, Target: "/dev/here"}, []string{"ls", "/dev/here/sub"}, "deep", false},
		{"below /dev with dots", Mount{Kind: MountTmpfs, Target: "/dev/../nowhere"}, nil, "no such file", true},
		{"layers", Mount{Kind: MountLayers, Layers: layers, SubPath: "bin", Target: "/mnt"}, []string{"ls", "/mnt"}, "inside", false},
		{"one layer", Mount{Kind: MountLayers, Layers: single, Target: "/mnt"}, []string{"ls", "/mnt/bin"}, "inside", false},
		{"layers are read-only", Mount{Kind: MountLayers, Layers: layers, Target: "/mnt"}, []string{"write", "/mnt/x", ""}, "read-only", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := command(append(tt.args, "true")...)
			if tt.args != nil {
				p = command(tt.args...)
			}
			p.Mounts = []Mount{tt.mount}
			got, err := outputOf(t, r, p)
			if tt.fails {
				if err == nil || !strings.Contains(got+err.Error(), tt.want) {
					t.Errorf("%q, %v; want %q", got, err, tt.want)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if got := entries(t, r.Upper); got != nil {
		t.Errorf("upper holds %q", got)
	}
}

// Many mounts need many descriptors, and none of them takes the place of another.
func TestManyMounts(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	p := command("cat")
	var want string
	for i := range 40 {
		source := t.TempDir()
		must(t, os.WriteFile(filepath.Join(source, "file"), []byte{'a' + byte(i%26)}, 0o644))
		target := fmt.Sprintf("/dev/many/%d", i)
		p.Mounts = append(p.Mounts, Mount{Kind: MountBind, Source: source, Target: target})
		p.Args = append(p.Args, target+"/file")
		want += string(rune('a' + i%26))
	}
	if got := mustOutput(t, r, p); got != want {
		t.Errorf("got %q", got)
	}
}

// Symlinks of a hostile image lead nowhere outside: a target that only exists there does not exist.
func TestHostileTargets(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "file"), []byte("host"), 0o644))
	for _, tt := range []struct{ name, path, target string }{
		{"absolute /dev", "dev", outside},
		{"relative /dev", "dev", "../../../../../../../../../.." + outside},
		{"absolute /proc", "proc", outside},
		{"relative /sys", "sys", "../../../../../../../../../.." + outside},
		{"absolute resolv.conf", "etc/resolv.conf", outside + "/file"},
		{"relative resolv.conf", "etc/resolv.conf", "../../../../../../../../../.." + outside + "/file"},
		{"directory of resolv.conf", "etc", outside},
		{"magic link", "etc/resolv.conf", "/proc/self/exe"},
		{"descriptor", "etc/resolv.conf", "/proc/self/fd/3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRootfs(t, 1)
			must(t, os.RemoveAll(filepath.Join(base(r), tt.path)))
			must(t, os.Symlink(tt.target, filepath.Join(base(r), tt.path)))
			p := command("true")
			p.ResolvConf = []byte("x")
			_, err := outputOf(t, r, p)
			var setup *SetupError
			if !errors.As(err, &setup) {
				t.Errorf("err = %v", err)
			}
			if diff := cmp.Diff([]string{"file"}, entries(t, outside)); diff != "" {
				t.Error(diff)
			}
			if got := entries(t, r.Upper); got != nil {
				t.Errorf("upper holds %q", got)
			}
		})
	}
}

// A symlink that stays inside is followed: images have /etc/resolv.conf as one.
func TestLinkedTarget(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	must(t, os.MkdirAll(filepath.Join(base(r), "run/resolve"), 0o755))
	must(t, os.WriteFile(filepath.Join(base(r), "run/resolve/stub"), nil, 0o644))
	must(t, os.Remove(filepath.Join(base(r), "etc/resolv.conf")))
	must(t, os.Symlink("../../run/resolve/stub", filepath.Join(base(r), "etc/resolv.conf")))
	p := command("cat", "/run/resolve/stub")
	p.ResolvConf = []byte("nameserver 192.0.2.1")
	if got := mustOutput(t, r, p); got != "nameserver 192.0.2.1" {
		t.Errorf("got %q", got)
	}
}

// Nothing of a step is seen from outside, and nothing stays mounted.
func TestNothingStaysMounted(t *testing.T) {
	t.Parallel()
	r := newRootfs(t, 1)
	mustOutput(t, r, command("true"))
	text, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(text), r.Merged) {
		t.Error("a mount is left")
	}
	if got := entries(t, r.Merged); got != nil {
		t.Errorf("merged holds %q", got)
	}
}

// The older way to make a mount read-only, for Linux 5.10 and 5.11, keeps the mount's other flags.
func TestRemountReadOnly(t *testing.T) {
	t.Parallel()
	if !userNamespace(t).Own && os.Getuid() != 0 {
		t.Fatal("no right to mount")
	}
	mount, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	must(t, err)
	defer unix.Close(mount)
	inOwnMountNamespace(t, func() {
		dir, err := openDirectory(t.TempDir())
		must(t, err)
		must(t, attach(mount, dir))
		must(t, remount(mount, unix.MOUNT_ATTR_RDONLY))
		var fs unix.Statfs_t
		must(t, unix.Fstatfs(mount, &fs))
		if want := int64(unix.ST_RDONLY | unix.ST_NOSUID | unix.ST_NOEXEC); int64(fs.Flags)&want != want {
			t.Errorf("flags %#x", fs.Flags)
		}
	})
}
