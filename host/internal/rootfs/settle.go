package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/identity"
)

// capability is the one extended attribute that goes into layers.
const capability = "security.capability"

// settle gives an open file or directory the metadata of e. The order matters: chown(2) clears set-user-id bits and
// capabilities, setting an access list changes the mode, and everything changes times.
func (s *site) settle(fd int, e *filetree.Entry) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("stat %q: %w", e.Path, err)
	}
	if uid, gid := s.opts.Owners.OnDisk(e.UID, e.GID); st.Uid != uid || st.Gid != gid {
		if err := unix.Fchown(fd, int(uid), int(gid)); err != nil {
			return fmt.Errorf("make %d:%d the owner of %q: %w", uid, gid, e.Path, err)
		}
	}
	if err := s.recordOwner(fd, e); err != nil {
		return err
	}
	for name, value := range e.Xattrs {
		if overlayOwn(name) || name == identity.Attribute {
			continue
		}
		// Attributes other than capabilities are kept where the file system has a mind to.
		if err := unix.Fsetxattr(fd, name, []byte(value), 0); err != nil && name == capability {
			if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP) {
				return fmt.Errorf("set %s of %q: %w", name, e.Path, err)
			}
			s.lose(e.Path, capability, err)
		}
	}
	if st.Mode&0o7777 != uint32(e.Mode) || len(e.Xattrs) > 0 {
		if err := unix.Fchmod(fd, uint32(e.Mode)); err != nil {
			return fmt.Errorf("set mode %04o of %q: %w", e.Mode, e.Path, err)
		}
	}
	times := modTimes(e.ModTime)
	if err := unix.UtimesNanoAt(fd, "", times[:], unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set modification time of %q: %w", e.Path, err)
	}
	return nil
}

// recordOwner notes an owner that the file cannot have here, for the processes that are to believe in it.
func (s *site) recordOwner(fd int, e *filetree.Entry) error {
	owner := identity.Owner{UID: e.UID, GID: e.GID}
	if !s.opts.Owners.Single() || owner == (identity.Owner{}) {
		return nil
	}
	if err := unix.Fsetxattr(fd, identity.Attribute, []byte(owner.String()), 0); err != nil {
		return fmt.Errorf("record the owner of %q: %w", e.Path, err)
	}
	return nil
}

// settleAt is settle for what cannot be opened: symlinks, devices and FIFOs that the site has just made.
func (s *site) settleAt(dirfd int, name string, e *filetree.Entry) error {
	uid, gid := s.opts.Owners.OnDisk(e.UID, e.GID)
	if err := unix.Fchownat(dirfd, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("make %d:%d the owner of %q: %w", uid, gid, e.Path, err)
	}
	if e.Type != filetree.Symlink {
		if err := unix.Fchmodat(dirfd, name, uint32(e.Mode), 0); err != nil {
			return fmt.Errorf("set mode %04o of %q: %w", e.Mode, e.Path, err)
		}
	}
	times := modTimes(e.ModTime)
	if err := unix.UtimesNanoAt(dirfd, name, times[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set modification time of %q: %w", e.Path, err)
	}
	return nil
}

// visibility says whether an overlay directory shows what lower layers have of it.
type visibility int

const (
	mergesLower visibility = iota
	hidesLower
)

// settleDir gives a directory its metadata. It comes after everything below it.
func (s *site) settleDir(e *filetree.Entry, lower visibility) (err error) {
	fd, err := openBeneath(s.fd(), e.Path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open directory %q: %w", e.Path, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if lower == hidesLower {
		if err := unix.Fsetxattr(fd, s.opts.Form.Prefix()+"opaque", []byte("y"), 0); err != nil {
			return fmt.Errorf("mark directory %q as opaque: %w", e.Path, err)
		}
	}
	return s.settle(fd, e)
}

// modTimes is what utimensat(2) wants: the access time is set to the modification time, to be the same on every machine.
func modTimes(ns int64) [2]unix.Timespec {
	sec, nsec := ns/1e9, ns%1e9
	if nsec < 0 { // before 1970
		sec, nsec = sec-1, nsec+1e9
	}
	t := unix.Timespec{Sec: sec, Nsec: nsec}
	return [2]unix.Timespec{t, t}
}

// writeContent copies a large file's content. Long runs of zeros become holes: a sparse file of a layer is not to fill the
// disk.
func (s *site) writeContent(fd int, size int64, content io.Reader) error {
	pooled, ok := s.buffers.Get().(*[]byte)
	if !ok {
		b := make([]byte, 256<<10)
		pooled = &b
	}
	defer s.buffers.Put(pooled)
	var at, written int64
	for at < size {
		b := (*pooled)[:min(size-at, int64(len(*pooled)))]
		if _, err := io.ReadFull(content, b); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if !isZero(b) {
			if written != at {
				if _, err := unix.Seek(fd, at, io.SeekStart); err != nil {
					return err
				}
			}
			if err := writeAll(fd, b); err != nil {
				return err
			}
			written = at + int64(len(b))
		}
		at += int64(len(b))
	}
	if written != size {
		return unix.Ftruncate(fd, size)
	}
	return nil
}

// isZero compares a slice with itself, shifted by one byte, which is as fast as memory.
func isZero(b []byte) bool {
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}

func isNoXattr(err error) bool {
	return errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP)
}
