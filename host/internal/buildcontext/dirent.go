package buildcontext

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// direntry is a name in a directory, with the type if the file system tells it there.
type direntry struct {
	name string
	typ  byte
}

func (e direntry) mayBeDirectory() bool { return e.typ == unix.DT_DIR || e.typ == unix.DT_UNKNOWN }

// readNames reads the names in an open directory, sorted. Names that cannot be wanted may be missing, and wanted ones be
// there that do not exist.
func (r *reader) readNames(fd int, w wants) error {
	r.names = r.names[:0]
	if names, ok := w.names(); ok {
		for _, name := range names {
			r.names = append(r.names, direntry{name: name, typ: unix.DT_UNKNOWN})
		}
	} else {
		for {
			n, err := ignoringEINTR(func() (int, error) { return unix.Getdents(fd, r.buffer) })
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			r.parse(r.buffer[:n])
		}
	}
	slices.SortFunc(r.names, func(a, b direntry) int { return strings.Compare(a.name, b.name) })
	r.names = slices.CompactFunc(r.names, func(a, b direntry) bool { return a.name == b.name })
	return nil
}

// parse reads the records of getdents64(2).
func (r *reader) parse(records []byte) {
	const lengthAt, typeAt, nameAt = 16, 18, 19
	for len(records) > nameAt {
		length := int(binary.NativeEndian.Uint16(records[lengthAt:]))
		if length <= nameAt || length > len(records) {
			return
		}
		name, _, _ := bytes.Cut(records[nameAt:length], []byte{0})
		if s := string(name); s != "." && s != ".." {
			r.names = append(r.names, direntry{name: s, typ: records[typeAt]})
		}
		records = records[length:]
	}
}

// fileStat is what the index needs to know of a file.
type fileStat struct {
	typ     filetree.Type
	mode    uint16
	socket  bool // shown as an empty file
	linked  bool // it has other names
	size    int64
	modTime int64
	id      fileID
	rdev    uint64
}

// fileID names a file on this machine, until it is deleted.
type fileID struct{ dev, ino uint64 }

func (s *fileStat) read(fd int, name string) error {
	var st unix.Stat_t
	_, err := ignoringEINTR(func() (struct{}, error) {
		return struct{}{}, unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		return err
	}
	s.set(&st)
	return nil
}

func (s *fileStat) set(st *unix.Stat_t) {
	*s = fileStat{
		mode: uint16(st.Mode & 0o7777), modTime: unix.TimespecToNsec(st.Mtim),
		id: fileID{dev: uint64(st.Dev), ino: st.Ino}, rdev: uint64(st.Rdev), //nolint:unconvert // differs by architecture
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		s.typ = filetree.Directory
	case unix.S_IFLNK:
		s.typ = filetree.Symlink
	case unix.S_IFCHR:
		s.typ = filetree.CharDevice
	case unix.S_IFBLK:
		s.typ = filetree.BlockDevice
	case unix.S_IFIFO:
		s.typ = filetree.FIFO
	case unix.S_IFSOCK:
		s.typ, s.socket = filetree.Regular, true
	default:
		s.typ, s.size, s.linked = filetree.Regular, st.Size, st.Nlink > 1
	}
}

// capabilities reads a file's security.capability, best effort: without /proc, or where the file system has none, there
// are none.
func capabilities(fd int, name string) string {
	var buf [64]byte // XATTR_CAPS_SZ is 20, 24 with a namespace's root
	n, err := unix.Lgetxattr("/proc/self/fd/"+strconv.Itoa(fd)+"/"+name, capabilityXattr, buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// capabilityXattr is the one extended attribute that layers hold.
const capabilityXattr = "security.capability"
