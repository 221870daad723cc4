package executor

import (
	"cmp"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountAll makes the mounts that the caller asked for.
func (a *assembly) mountAll(p wireProcess) error {
	mounts := make([]wireMount, 0, len(p.Mounts)+2)
	if p.SetResolv {
		mounts = append(mounts, wireMount{Kind: MountFile, Target: "/etc/resolv.conf", Content: p.ResolvConf})
	}
	if p.SetHost {
		mounts = append(mounts, wireMount{Kind: MountFile, Target: "/etc/hosts", Content: p.Hosts})
	}
	for _, m := range append(mounts, p.Mounts...) {
		mount, err := a.source(m)
		if err != nil {
			return err
		}
		if err := errors.Join(a.place(m, mount), errorOf("close mount", unix.Close(mount))); err != nil {
			return err
		}
	}
	return nil
}

// source makes what a mount shows, attached nowhere yet.
func (a *assembly) source(m wireMount) (int, error) {
	switch m.Kind {
	case MountTmpfs:
		return a.tmpfs(m)
	case MountFile, MountSecret:
		mode := m.Mode
		if mode == 0 {
			mode = 0o444
		}
		return a.scratch.file(m.Content, mode, m.UID, m.GID)
	case MountLayers:
		return a.layers(m)
	}
	return m.FD, nil
}

// below clones what lies at a path under a descriptor. No symlink leads out, also while somebody else changes the tree: a
// cache mount is shared by steps that run at once (CVE-2024-23651).
func below(from int, path string) (int, error) {
	if path == "" {
		return cloneTree(from)
	}
	fd, err := in(from, path)
	if err != nil {
		return -1, failure("open mount source", path, err)
	}
	mount, err := cloneTree(fd)
	return mount, errors.Join(err, errorOf("close mount source", unix.Close(fd)))
}

func (a *assembly) tmpfs(m wireMount) (int, error) {
	mode := m.Mode
	if mode == 0 {
		mode = 0o1777
	}
	options := []option{
		{"mode", strconv.FormatUint(uint64(mode), 8)},
		{"uid", strconv.FormatUint(uint64(m.UID), 10)},
		{"gid", strconv.FormatUint(uint64(m.GID), 10)},
	}
	if m.Size > 0 {
		options = append(options, option{"size", strconv.FormatInt(m.Size, 10)})
	}
	return newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, options...)
}

// layers mounts a further overlay. Its scratch directory is its own: a merged directory can be covered only once.
func (a *assembly) layers(m wireMount) (int, error) {
	scratch, err := newScratch(m.Layers.Merged)
	if err != nil {
		return -1, err
	}
	a.outside = append(a.outside, scratch.mount)
	root, err := a.mountOverlay(m.Layers, scratch)
	if err != nil {
		return -1, err
	}
	mount, err := below(root, m.SubPath)
	return mount, errors.Join(err, errorOf("close layers", unix.Close(root)))
}

// place attaches a mount to its target.
func (a *assembly) place(m wireMount, mount int) error {
	var st unix.Stat_t
	if err := unix.Fstat(mount, &st); err != nil {
		return failure("look at mount source for", m.Target, err)
	}
	target, err := in(a.root, m.Target)
	if errors.Is(err, unix.ENOENT) {
		err = a.makeTarget(m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	} else if err = errors.Join(err, unix.Close(target)); err != nil {
		err = failure("open mount target", m.Target, err)
	}
	if err != nil {
		return err
	}
	attrs := uint64(a.guard)
	if m.ReadOnly || m.Kind == MountFile || m.Kind == MountSecret {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	return attachRestricted(a.root, m.Target, mount, attrs)
}

// makeTarget makes what is missing of a mount target inside another mount, such as /dev or a cache. In the root file system
// itself nothing is made: it would end up in the layer.
func (a *assembly) makeTarget(target string, directory bool) error {
	var root unix.Stat_t
	if err := unix.Fstat(a.root, &root); err != nil {
		return failure("make mount target", target, err)
	}
	parts := elements(target)
	for i := range parts {
		path := strings.Join(parts[:i+1], "/")
		fd, err := in(a.root, path)
		if errors.Is(err, unix.ENOENT) {
			err = a.makeTargetPart(strings.Join(parts[:i], "/"), parts[i], directory || i < len(parts)-1, root.Dev)
		} else if err == nil {
			err = unix.Close(fd)
		}
		if errors.Is(err, unix.ENOENT) {
			return failure("open mount target", target, err)
		}
		if err != nil {
			return failure("make mount target", target, err)
		}
	}
	return nil
}

// makeTargetPart makes one element of a mount target, unless its directory is on the device of the root file system.
func (a *assembly) makeTargetPart(dir, name string, directory bool, root uint64) (err error) {
	fd, err := in(a.root, cmp.Or(dir, "."))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch {
	case st.Dev == root:
		return unix.ENOENT
	case directory:
		err = unix.Mkdirat(fd, name, 0o755)
	default:
		err = unix.Mknodat(fd, name, unix.S_IFREG|0o644, 0)
	}
	if errors.Is(err, unix.EEXIST) { // a link that leads nowhere, or somebody else was faster: it is opened next
		return nil
	}
	return err
}
