package executor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Where nothing keeps the machine's devices shut, a node opens nothing, wherever a base image or a step has put it, and those of
// /dev open what they are. The null device stands for a disk.
func TestNodesOpenNothing(t *testing.T) {
	t.Parallel()
	if !userNamespace(t).Initial {
		return // the kernel sees to it
	}
	kmsg := filepath.Join(t.TempDir(), "kmsg")
	must(t, unix.Mknod(kmsg, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11))))
	open := func() bool {
		f, err := os.OpenFile(kmsg, os.O_RDONLY|unix.O_NONBLOCK, 0)
		return err == nil && f.Close() == nil
	}()
	r, dir := newRootfs(t, 1), t.TempDir()
	must(t, unix.Mknod(filepath.Join(base(r), "brought"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	must(t, os.Mkdir(filepath.Join(base(r), "bound"), 0o755))
	for _, path := range []string{"/brought", "/made", "/dev/made", "/bound/made", "/dev/null"} {
		p := command("cat", path)
		if strings.HasSuffix(path, "made") {
			p = command("all", "mknod", path, ";", "cat", path)
		}
		p.Mounts = []Mount{{Kind: MountBind, Source: dir, Target: "/bound"}}
		out, err := outputOf(t, r, p)
		if shut := err != nil && strings.Contains(out, "permission denied"); shut != (open && path != "/dev/null") || err != nil && !shut {
			t.Errorf("%s, devices open here: %v: %v %s", path, open, err, out)
		}
	}
	if out, err := outputOf(t, r, privileged("cat", "/brought")); err != nil {
		t.Errorf("a privileged step: %v %s", err, out)
	}
}
