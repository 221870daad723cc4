package executor

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// option is a file system's mount option. Flags have no value.
type option struct{ key, value string }

// newMount makes a file system that is attached nowhere yet. As with mount(8), its source in /proc/mounts is its kind unless
// an option says otherwise.
func newMount(kind string, attrs int, options ...option) (int, error) {
	call := "mount " + kind
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, failure(call, "", err)
	}
	if !slices.ContainsFunc(options, func(o option) bool { return o.key == "source" }) {
		options = append(options, option{"source", kind})
	}
	for _, o := range options {
		if o.value == "" {
			err = unix.FsconfigSetFlag(fs, o.key)
		} else {
			err = unix.FsconfigSetString(fs, o.key, o.value)
		}
		if err != nil {
			return -1, errors.Join(failure(call, o.key+"="+o.value, err), unix.Close(fs))
		}
	}
	mount := -1
	if err = unix.FsconfigCreate(fs); err == nil {
		mount, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	}
	if err = errors.Join(err, unix.Close(fs)); err != nil {
		return -1, failure(call, "", err)
	}
	return mount, nil
}

// attach puts a mount on a directory or file, by descriptors both.
func attach(mount, target int) error {
	return unix.MoveMount(mount, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// cloneMount makes a second mount of what lies at a path: a bind mount that is attached nowhere yet.
func cloneMount(dir int, path string) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_SYMLINK_NOFOLLOW)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dir, path, flags)
	if err != nil {
		return -1, failure("clone mount", path, err)
	}
	return fd, nil
}

// cloneTree is cloneMount with all that is mounted below: a user namespace may not look under what it inherited.
func cloneTree(dir int) (int, error) {
	fd, err := unix.OpenTree(dir, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return -1, failure("clone mounts", "", err)
	}
	return fd, nil
}

// in resolves a path with root as its root, so that no symlink and no ".." leads out of it.
func in(root int, path string) (int, error) {
	return resolve(root, path, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

func resolve(root int, path string, how uint64) (int, error) {
	for {
		fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: how})
		// The kernel asks to try again where something was renamed meanwhile.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// attachIn puts a mount on a path inside root and closes neither.
func attachIn(root int, target string, mount int) error {
	fd, err := in(root, target)
	if err != nil {
		return failure("open mount target", target, err)
	}
	if err := errors.Join(attach(mount, fd), unix.Close(fd)); err != nil {
		return failure("mount", target, err)
	}
	return nil
}

// readOnly makes a mount, and what is mounted below it in a clone that is not attached yet, read-only.
func readOnly(mount int) error { return restrict(mount, unix.MOUNT_ATTR_RDONLY) }

// restrict gives a mount attributes, and what is mounted below it in a clone that is not attached yet.
func restrict(mount int, attrs uint64) error {
	return unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attrs})
}

// setAttributesMissing tells whether the kernel, or a seccomp filter older than the call, has no mount_setattr (Linux 5.12).
func setAttributesMissing(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
}

// remount does for an attached mount what restrict does, the older way. Flags that are not named again would be taken off,
// which a user namespace may not.
func remount(mount int, attrs uint64) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(mount, &fs); err != nil {
		return err
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND)
	if attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		flags |= unix.MS_RDONLY
	}
	if attrs&unix.MOUNT_ATTR_NODEV != 0 {
		flags |= unix.MS_NODEV
	}
	for st, ms := range map[int64]uintptr{
		unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOEXEC: unix.MS_NOEXEC, unix.ST_RDONLY: unix.MS_RDONLY,
		unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_NODIRATIME: unix.MS_NODIRATIME, unix.ST_RELATIME: unix.MS_RELATIME,
	} {
		if int64(fs.Flags)&st != 0 { //nolint:unconvert // differs by platform
			flags |= ms
		}
	}
	return unix.Mount("", descriptorPath(mount), "", flags, "")
}

// attachReadOnly attaches a mount so that it cannot be written through.
func attachReadOnly(root int, target string, mount int) error {
	return attachRestricted(root, target, mount, unix.MOUNT_ATTR_RDONLY)
}

// attachRestricted attaches a mount with attributes.
func attachRestricted(root int, target string, mount int, attrs uint64) error {
	if attrs == 0 {
		return attachIn(root, target, mount)
	}
	err := restrict(mount, attrs)
	if err == nil {
		return attachIn(root, target, mount)
	}
	if !setAttributesMissing(err) {
		return failure("restrict mount", target, err)
	}
	if err := attachIn(root, target, mount); err != nil {
		return err
	}
	return errorOf("restrict mount "+target, remount(mount, attrs))
}

func descriptorPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func errorOf(call string, err error) error {
	if err == nil {
		return nil
	}
	return failure(call, "", err)
}

// elements splits a path below a directory that is the executor's own.
func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
