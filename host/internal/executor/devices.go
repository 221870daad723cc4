package executor

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A device node opens the machine's device from wherever it lies: a base image may bring one of a disk, and a container's root
// may make one. In a container its control group keeps all but harmless devices shut. On a machine itself nothing does, and a
// step's file systems are then mounted so that nodes in them open nothing, but for those of /dev.

// deviceGuard finds out by doing it whether devices are open: the kernel's log is one that container engines keep shut. In a
// user namespace nodes open nothing anyway. The result is [unix.MOUNT_ATTR_NODEV] or 0.
func (a *assembly) deviceGuard() (int, error) {
	if !a.ids.initial || a.allowed == PrivilegesBuilder {
		return 0, nil
	}
	name := a.scratch.name()
	err := unix.Mknodat(a.scratch.mount, name, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11)))
	if errors.Is(err, unix.EPERM) {
		return 0, nil // and a step cannot make one either
	}
	if err != nil {
		return 0, failure("make device to probe with", "", err)
	}
	fd, err := unix.Openat(a.scratch.mount, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EPERM) && !a.maySyslog():
		return unix.MOUNT_ATTR_NODEV, nil // for want of another right than the control group's
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return 0, nil
	case err != nil:
		return unix.MOUNT_ATTR_NODEV, nil //nolint:nilerr // not by a control group
	}
	return unix.MOUNT_ATTR_NODEV, errorOf("close device", unix.Close(fd))
}

// maySyslog says whether this process may read the kernel's log, which dmesg_restrict leaves to CAP_SYSLOG.
func (a *assembly) maySyslog() bool {
	if setting("/proc/sys/kernel/dmesg_restrict") == "0" {
		return true
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[unix.CAP_SYSLOG/32].Effective&(1<<(unix.CAP_SYSLOG%32)) != 0
}
