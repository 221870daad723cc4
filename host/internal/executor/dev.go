package executor

import (
	"cmp"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// device is a node that every container has.
type device struct {
	name         string
	kind         uint32 // S_IFBLK, or 0 for a character device
	major, minor uint32
}

func devices() []device {
	return []device{
		{name: "null", major: 1, minor: 3},
		{name: "zero", major: 1, minor: 5},
		{name: "full", major: 1, minor: 7},
		{name: "random", major: 1, minor: 8},
		{name: "urandom", major: 1, minor: 9},
		{name: "tty", major: 5, minor: 0},
	}
}

// mountDev makes /dev: a file system in memory with the nodes and links that the OCI runtime specification lists.
func (a *assembly) mountDev() error {
	var err error
	a.dev, err = newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|a.guard, option{"mode", "0755"}, option{"size", "65536k"})
	if err != nil {
		return err
	}
	a.outside = append(a.outside, a.dev)
	for _, link := range [][2]string{
		{"pts/ptmx", "ptmx"},
		{"/proc/self/fd", "fd"},
		{"/proc/self/fd/0", "stdin"},
		{"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"},
		{"/proc/kcore", "core"},
	} {
		if err := unix.Symlinkat(link[0], a.dev, link[1]); err != nil {
			return failure("make link in /dev", link[1], err)
		}
	}
	if err := attachIn(a.root, "/dev", a.dev); err != nil {
		return err
	}
	for _, d := range devices() {
		if err := a.makeDevice(d); err != nil {
			return err
		}
	}
	return a.mountBelowDev()
}

// makeDevice makes a node. Where nodes in /dev open nothing it shows one that lies elsewhere, and the builder's own in a user
// namespace, where nodes cannot be made.
func (a *assembly) makeDevice(d device) error {
	if a.ids.initial && a.guard == 0 {
		return a.makeNode(a.dev, d.name, d)
	}
	mount, err := a.deviceMount(d)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(a.dev, d.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return failure("make device", "/dev/"+d.name, err)
	}
	// Read-only is the node, not the device: the builder's own is the machine's, whose mode its root may change, also in a
	// user namespace.
	err = errors.Join(unix.Close(fd), attachReadOnly(a.root, "/dev/"+d.name, mount), unix.Close(mount))
	if err != nil {
		return failure("mount device", "/dev/"+d.name, err)
	}
	return nil
}

// deviceMount is a mount of a node, attached nowhere yet.
func (a *assembly) deviceMount(d device) (int, error) {
	if !a.ids.initial {
		return cloneMount(unix.AT_FDCWD, "/dev/"+d.name)
	}
	name := a.scratch.name()
	if err := a.makeNode(a.scratch.mount, name, d); err != nil {
		return -1, err
	}
	return cloneMount(a.scratch.mount, name)
}

func (a *assembly) makeNode(dir int, name string, d device) error {
	kind := d.kind
	if kind == 0 {
		kind = unix.S_IFCHR
	}
	err := unix.Mknodat(dir, name, kind|0o666, int(unix.Mkdev(d.major, d.minor)))
	return errorOf("make device /dev/"+d.name, err)
}

// defaultShmSize is Docker's.
const defaultShmSize = 64 << 20

func (a *assembly) mountBelowDev() error {
	const safe = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	terminals := []option{{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}}
	if mapped(a.ids.gids, 5) { // the group tty
		terminals = append(terminals, option{"gid", "5"})
	}
	shared := []option{{"source", "shm"}, {"mode", "1777"}, {"size", strconv.FormatInt(cmp.Or(a.shmSize, defaultShmSize), 10)}}
	for _, m := range []struct {
		name, kind string
		attrs      int
		options    []option
	}{
		{"pts", "devpts", safe, terminals},
		{"shm", "tmpfs", safe | unix.MOUNT_ATTR_NODEV, shared},
		{"mqueue", "mqueue", safe | unix.MOUNT_ATTR_NODEV, nil},
	} {
		mount, err := newMount(m.kind, m.attrs, m.options...)
		if err != nil {
			return err
		}
		if err := unix.Mkdirat(a.dev, m.name, 0o755); err != nil {
			return failure("make directory", "/dev/"+m.name, err)
		}
		err = unix.MoveMount(mount, "", a.dev, m.name, unix.MOVE_MOUNT_F_EMPTY_PATH)
		if err = errors.Join(err, unix.Close(mount)); err != nil {
			return failure("mount", "/dev/"+m.name, err)
		}
	}
	return nil
}
