package executor

import (
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// becomePrivileged becomes a user with all that the builder has. Capabilities are inheritable and ambient, so that they
// outlive execve for a user who is not root too, as with BuildKit.
func becomePrivileged(ids identities, u User) error {
	if err := ids.recorder.handOver(); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return failure("read capabilities", "", err)
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return failure("keep capabilities", "", err)
	}
	if err := becomeUser(ids, u); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective, data[i].Inheritable = data[i].Permitted, data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return failure("set capabilities", "", err)
	}
	for c := range uint(64) {
		if data[c/32].Permitted&(1<<(c%32)) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return failure("raise ambient capability", fmt.Sprint(c), err)
		}
	}
	return nil
}

// loopDevices is how many of them a privileged process finds.
const loopDevices = 8

// privilegedDevices are those that BuildKit adds for an insecure step.
func privilegedDevices() []device {
	list := []device{
		{name: "kmsg", major: 1, minor: 11},
		{name: "cuse", major: 10, minor: 203},
		{name: "fuse", major: 10, minor: 229},
		{name: "kvm", major: 10, minor: 232},
		{name: "net/tun", major: 10, minor: 200},
		{name: "loop-control", major: 10, minor: 237},
	}
	for i := range uint32(loopDevices) {
		list = append(list, device{name: fmt.Sprint("loop", i), kind: unix.S_IFBLK, major: 7, minor: i})
	}
	return list
}

// addDevices adds to /dev what can be had of the devices of a privileged process: in a user namespace those that the
// builder has; else all, unless the builder may make no nodes.
func (a *assembly) addDevices() error {
	for _, d := range privilegedDevices() {
		if !a.ids.initial {
			var st unix.Stat_t
			if err := unix.Lstat("/dev/"+d.name, &st); err != nil {
				continue // the builder does not have it either
			}
		}
		if dir := path.Dir(d.name); dir != "." {
			if err := unix.Mkdirat(a.dev, dir, 0o755); err != nil {
				return failure("make directory", "/dev/"+dir, err)
			}
		}
		if err := a.makeDevice(d); err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	return nil
}

// mountWritableSys is mountSys without protection. In a user namespace the builder's is shown, which the kernel protects.
func (a *assembly) mountWritableSys() error {
	mount, err := newMount("sysfs", kernelAttrs)
	if err != nil {
		return a.bindOutside("/sys")
	}
	if err := errors.Join(attachIn(a.root, "/sys", mount), errorOf("close /sys", unix.Close(mount))); err != nil {
		return err
	}
	const cgroups = "/sys/fs/cgroup"
	if entries, err := os.ReadDir(cgroups); err != nil || len(entries) == 0 {
		return nil //nolint:nilerr // no control groups
	}
	return a.bindOutside(cgroups)
}
