package executor

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// kernelDirs are the /dev, /proc and /sys of a process in a chroot, where nothing can be mounted: directories that are laid
// into the root file system and taken away again, while what is there lies aside. /dev has its nodes. /proc is what a process
// may want to know of the machine, as it was when the process started. It has nothing of the process's own: no self/exe, by
// which language runtimes find themselves, and no self/fd, which stands behind /dev/stdout. A directory of that name without
// the files would be worse than none: what is written to /dev/stdout would be lost in silence.
type kernelDirs struct {
	root, aside int
	dirs        []*kernelDir
}

type kernelDir struct {
	name  string
	fd    int  // of the directory that was laid, -1 if none was
	moved bool // what was there lies aside
}

// asideName is that of what was there before.
func (d *kernelDir) asideName() string { return "kernel-" + d.name }

// layKernel lays the directories into the root file system whose directory root is. remove must be called in any case.
func layKernel(root, aside int) (*kernelDirs, error) {
	k := &kernelDirs{root: root, aside: aside}
	for _, d := range []struct {
		name string
		fill func(fd int) error
	}{{"dev", fillDev}, {"proc", fillProc}, {"sys", func(int) error { return nil }}} {
		fd, err := k.lay(d.name)
		if err != nil {
			return k, failure("make", "/"+d.name, err)
		}
		if err := d.fill(fd); err != nil {
			return k, err
		}
	}
	return k, nil
}

// lay puts an empty directory in the place of what is there.
func (k *kernelDirs) lay(name string) (int, error) {
	d := &kernelDir{name: name, fd: -1}
	k.dirs = append(k.dirs, d)
	err := unix.Renameat2(k.root, name, k.aside, d.asideName(), unix.RENAME_NOREPLACE)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return -1, err
	}
	d.moved = err == nil
	if err := unix.Mkdirat(k.root, name, 0o700); err != nil {
		return -1, err
	}
	d.fd, err = unix.Openat(k.root, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return d.fd, unix.Fchmod(d.fd, 0o755)
}

// remove takes them away, wherever the process moved them, and puts back what was there. It goes on after a failure.
func (k *kernelDirs) remove() error {
	var errs []error
	for _, d := range k.dirs {
		if err := k.removeOne(d); err != nil {
			errs = append(errs, failure("remove", "/"+d.name, err))
		}
	}
	k.dirs = nil
	return errors.Join(errs...)
}

func (k *kernelDirs) removeOne(d *kernelDir) error {
	var errs []error
	if d.fd >= 0 {
		// By its descriptor: no node may stay behind in a directory that was moved.
		errs = append(errs, rootfs.Empty(d.fd), unix.Close(d.fd), rootfs.RemoveAt(k.root, d.name))
	}
	if d.moved {
		errs = append(errs, unix.Renameat2(k.aside, d.asideName(), k.root, d.name, unix.RENAME_NOREPLACE))
	}
	return errors.Join(errs...)
}

// fillDev makes the nodes and links of a container's /dev. The builder's umask is to have no part in it.
func fillDev(fd int) error {
	for _, d := range devices() {
		err := unix.Mknodat(fd, d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor)))
		if err == nil {
			err = unix.Fchmodat(fd, d.name, 0o666, 0)
		}
		if err != nil {
			setup := &SetupError{Call: "make device", Subject: "/dev/" + d.name, Err: err}
			if errors.Is(err, unix.EPERM) {
				setup.Hint = "needs the capability MKNOD, which root in a container has by default"
			}
			return setup
		}
	}
	for _, link := range [][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
	} {
		if err := unix.Symlinkat(link[0], fd, link[1]); err != nil {
			return failure("make link in /dev", link[1], err)
		}
	}
	for name, mode := range map[string]uint32{"shm": 0o1777, "pts": 0o755, "mqueue": 0o1777} {
		if err := errors.Join(unix.Mkdirat(fd, name, 0o700), unix.Fchmodat(fd, name, mode, 0)); err != nil {
			return failure("make directory", "/dev/"+name, err)
		}
	}
	return nil
}

// copiedProc are files of /proc that are copied as they are when the process starts.
func copiedProc() []string {
	return []string{
		"cgroups", "cmdline", "cpuinfo", "devices", "filesystems", "loadavg", "meminfo", "partitions", "stat", "swaps", "uptime",
		"version", "vmstat", "self/cgroup", "self/limits",
		"sys/fs/file-max", "sys/fs/nr_open", "sys/kernel/cap_last_cap", "sys/kernel/hostname", "sys/kernel/ngroups_max",
		"sys/kernel/osrelease", "sys/kernel/ostype", "sys/kernel/overflowgid", "sys/kernel/overflowuid", "sys/kernel/pid_max",
		"sys/kernel/random/boot_id", "sys/kernel/shmmax", "sys/kernel/threads-max", "sys/kernel/version", "sys/net/core/somaxconn",
		"sys/vm/max_map_count", "sys/vm/overcommit_memory",
	}
}

// writtenProc are files that say what a container's would say: the builder's own mounts are nobody's business.
func writtenProc() map[string]string {
	return map[string]string{
		"self/mounts": "rootfs / rootfs rw 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n",
		"self/mountinfo": "1 1 0:1 / / rw - rootfs rootfs rw\n" +
			"2 1 0:2 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n",
		"self/status": "Name:\tprocess\nUmask:\t0022\nState:\tR (running)\n",
	}
}

// fillProc makes the files of /proc. What the builder cannot read is left out.
func fillProc(fd int) error {
	for _, dir := range []string{"self", "sys", "sys/fs", "sys/kernel", "sys/kernel/random", "sys/net", "sys/net/core", "sys/vm"} {
		if err := errors.Join(unix.Mkdirat(fd, dir, 0o700), unix.Fchmodat(fd, dir, 0o555, 0)); err != nil {
			return failure("make directory", "/proc/"+dir, err)
		}
	}
	for _, name := range copiedProc() {
		text, err := os.ReadFile("/proc/" + name)
		if err != nil {
			continue
		}
		if err := procFile(fd, name, text); err != nil {
			return err
		}
	}
	for name, text := range writtenProc() {
		if err := procFile(fd, name, []byte(text)); err != nil {
			return err
		}
	}
	return errorOf("make link in /proc", unix.Symlinkat("self/mounts", fd, "mounts"))
}

func procFile(dir int, name string, text []byte) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return failure("make file", "/proc/"+name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o444), f.Close()); err != nil {
		return failure("make file", "/proc/"+strings.TrimSpace(name), err)
	}
	return nil
}
