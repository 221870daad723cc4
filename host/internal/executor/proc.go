package executor

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// callMountProc names the one step whose refusal has a way round: see [ProcBound].
const callMountProc = "mount proc"

// hidden are what a container has no business with, below /proc and /sys; the files read as empty, the directories are.
func hidden() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// protected are what may be read only.
func protected() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

const kernelAttrs = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

func (a *assembly) mountProc() error {
	if a.proc == ProcBound {
		return a.bindOutside("/proc")
	}
	mount, err := newMount("proc", kernelAttrs)
	if err != nil {
		var setup *SetupError
		if errors.As(err, &setup) && errors.Is(err, unix.EPERM) {
			setup.Hint = "the builder's own /proc is masked: unmask it (--security-opt systempaths=unconfined, procMount: Unmasked)"
		}
		return err
	}
	return errors.Join(attachIn(a.root, "/proc", mount), errorOf("close /proc", unix.Close(mount)))
}

// bindOutside shows a directory of the builder's, with all that is mounted below, at the same path.
func (a *assembly) bindOutside(path string) error {
	dir, err := openDirectory(path)
	if err != nil {
		return err
	}
	mount, err := cloneTree(dir)
	if err := errors.Join(err, errorOf("close directory", unix.Close(dir))); err != nil {
		return err
	}
	return errors.Join(attachIn(a.root, path, mount), errorOf("close directory", unix.Close(mount)))
}

// mountSys makes a read-only /sys. In a user namespace that does not own its network namespace only the builder's can be
// shown, and where that cannot be made read-only (before Linux 5.12) an empty one.
func (a *assembly) mountSys() error {
	mount, err := newMount("sysfs", kernelAttrs|unix.MOUNT_ATTR_RDONLY)
	if err == nil {
		err = errors.Join(attachIn(a.root, "/sys", mount), errorOf("close /sys", unix.Close(mount)))
		return errors.Join(err, a.showCgroups())
	}
	mount, err = a.outsideReadOnly("/sys")
	if err != nil {
		if mount, err = a.scratch.directory(); err != nil {
			return err
		}
	}
	return errors.Join(attachIn(a.root, "/sys", mount), errorOf("close /sys", unix.Close(mount)))
}

func (a *assembly) outsideReadOnly(path string) (int, error) {
	dir, err := openDirectory(path)
	if err != nil {
		return -1, err
	}
	mount, err := cloneTree(dir)
	if err := errors.Join(err, errorOf("close directory", unix.Close(dir))); err != nil {
		return -1, err
	}
	if err := readOnly(mount); err != nil {
		return -1, errors.Join(failure("make read-only", path, err), unix.Close(mount))
	}
	return mount, nil
}

// showCgroups shows the builder's control groups, read-only: language runtimes read there how much memory they may use.
// Where it cannot be done they see the machine's, as they do in a chroot.
func (a *assembly) showCgroups() error {
	const path = "/sys/fs/cgroup"
	if entries, err := os.ReadDir(path); err != nil || len(entries) == 0 {
		return nil //nolint:nilerr // no control groups
	}
	mount, err := a.outsideReadOnly(path)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	return errors.Join(attachIn(a.root, path, mount), errorOf("close control groups", unix.Close(mount)))
}

// hideProc covers what must not be seen and protects what must not be written, in what was just mounted: the paths hold no
// symlink of the image's making. What this kernel lacks is left out.
func (a *assembly) hideProc() error {
	for _, path := range protected() {
		fd, err := in(a.root, path)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return failure("open", path, err)
		}
		mount, err := cloneTree(fd)
		if err := errors.Join(err, errorOf("close", unix.Close(fd))); err != nil {
			return err
		}
		if err := errors.Join(attachReadOnly(a.root, path, mount), errorOf("close", unix.Close(mount))); err != nil {
			return err
		}
	}
	for _, path := range hidden() {
		if err := a.hide(path); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembly) hide(path string) error {
	var st unix.Stat_t
	fd, err := in(a.root, path)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		err = errors.Join(unix.Fstat(fd, &st), unix.Close(fd))
	}
	if err != nil {
		return failure("open", path, err)
	}
	var mount int
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		mount, err = a.scratch.directory()
	} else {
		mount, err = a.scratch.file(nil, 0o444, 0, 0)
	}
	if err != nil {
		return err
	}
	return errors.Join(attachReadOnly(a.root, path, mount), errorOf("close", unix.Close(mount)))
}
