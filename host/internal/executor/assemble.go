package executor

import (
	"errors"

	"golang.org/x/sys/unix"
)

// assembly is a root file system in the making.
type assembly struct {
	ids     identities
	proc    Proc
	allowed Privileges
	shmSize int64
	scratch *scratch
	root    int   // the overlay's root
	dev     int   // the root of the mount on /dev
	guard   int   // MOUNT_ATTR_NODEV where nothing else keeps a step from the machine's devices, or 0
	outside []int // descriptors of directories outside, to be closed before the command's directory is entered
}

// assemble makes the root file system of an order from inside a mount namespace of its own and makes it the root.
func assemble(o order, ids identities) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &SetupError{Call: "make mounts private", Err: err, Hint: hintMount(err)}
	}
	a := &assembly{ids: ids, proc: o.Process.Proc, allowed: o.Process.Privileges, shmSize: o.Process.ShmSize}
	var err error
	if a.scratch, err = newScratch(o.Root.Merged); err != nil {
		return err
	}
	if a.guard, err = a.deviceGuard(); err != nil {
		return err
	}
	if a.root, err = a.mountOverlay(o.Root, a.scratch); err != nil {
		return err
	}
	a.outside = append(a.outside, a.scratch.mount, a.root)
	kernel := []func() error{a.mountDev, a.mountProc, a.mountSys, a.hideProc}
	if a.allowed == PrivilegesBuilder {
		kernel = []func() error{a.mountDev, a.addDevices, a.mountProc, a.mountWritableSys}
	}
	for _, mount := range kernel {
		if err := mount(); err != nil {
			return err
		}
	}
	if err := a.mountAll(o.Process); err != nil {
		return err
	}
	if err := enterRoot(a.root); err != nil {
		return err
	}
	for _, fd := range a.outside {
		if err := unix.Close(fd); err != nil {
			return failure("close descriptor", "", err)
		}
	}
	return nil
}

// enterRoot makes a mount the root and lets go of the old one. With both arguments "." the old root comes to lie on the
// new one, where it is detached: no directory is needed to hold it.
func enterRoot(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return failure("enter root file system", "", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		setup := &SetupError{Call: "pivot_root", Err: err}
		if errors.Is(err, unix.EINVAL) {
			setup.Hint = "the builder's root must not be an initramfs"
		}
		return setup
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return failure("detach old root", "", err)
	}
	return errorOf("enter root", unix.Chdir("/"))
}
