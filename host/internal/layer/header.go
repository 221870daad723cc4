package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Whiteouts, as the OCI image layer specification has them from aufs.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	// whiteoutMeta starts the names of what aufs kept for itself.
	whiteoutMeta = ".wh..wh."
)

const (
	xattrRecord = "SCHILY.xattr."
	capability  = "security.capability"
	tarBlock    = 512
)

// appendHeader appends what a tar says of an entry: its header, before that a PAX header if it needs one. The form is that
// of containerd and BuildKit: whole seconds, no names of users, no times but that of the last change.
func appendHeader(dst []byte, e *filetree.Entry) ([]byte, error) {
	h, err := headerOf(e)
	if err != nil {
		return nil, err
	}
	out := appender{dst}
	if err := tar.NewWriter(&out).WriteHeader(h); err != nil {
		return nil, fmt.Errorf("%q: %w", e.Path, err)
	}
	return out.b, nil
}

func headerOf(e *filetree.Entry) (*tar.Header, error) {
	if err := writable(e); err != nil {
		return nil, err
	}
	h := &tar.Header{
		Name: e.Path, Mode: int64(e.Mode & 0o7777), Uid: int(e.UID), Gid: int(e.GID),
		ModTime: wholeSeconds(e.ModTime), Format: tar.FormatPAX,
	}
	switch e.Type {
	case filetree.Regular:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case filetree.Directory:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
		if e.Path == "" {
			h.Name = "./"
		}
	case filetree.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case filetree.Hardlink:
		h.Typeflag, h.Linkname = tar.TypeLink, e.Link
	case filetree.CharDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
	case filetree.BlockDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(e.Major), int64(e.Minor)
	case filetree.FIFO:
		h.Typeflag = tar.TypeFifo
	case filetree.Whiteout:
		return whiteoutHeader(filetree.Join(filetree.Parent(e.Path), whiteoutPrefix+filetree.Base(e.Path))), nil
	case filetree.Opaque:
		return whiteoutHeader(filetree.Join(e.Path, whiteoutOpaque)), nil
	default:
		return nil, fmt.Errorf("%q: a layer cannot hold a %s", e.Path, e.Type)
	}
	if v, ok := e.Xattrs[capability]; ok && e.Type == filetree.Regular {
		h.PAXRecords = map[string]string{xattrRecord + capability: v}
	}
	return h, nil
}

// whiteoutHeader is that of an empty file of nobody's, changed in 1970, as containerd writes it.
func whiteoutHeader(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
}

// wholeSeconds drops fractions, as BuildKit does, also before 1970.
func wholeSeconds(ns int64) time.Time {
	seconds, _ := floor(ns)
	return time.Unix(seconds, 0)
}

// writable refuses entries that a layer cannot say, or that would say something else.
func writable(e *filetree.Entry) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	switch {
	case e.Path == "" && e.Type != filetree.Directory && e.Type != filetree.Opaque:
		return fmt.Errorf("the root directory cannot be a %s", e.Type)
	case strings.HasPrefix(filetree.Base(e.Path), whiteoutPrefix):
		return fmt.Errorf("%q: in a layer, a name that begins with %q deletes a file: rename it", e.Path, whiteoutPrefix)
	case strings.IndexByte(e.Link, 0) >= 0:
		return fmt.Errorf("%q: its link has a NUL byte", e.Path)
	case len(e.Link) > maxPath:
		return fmt.Errorf("%q: its link has %d bytes; %d are possible", e.Path, len(e.Link), maxPath)
	case e.Link == "" && (e.Type == filetree.Symlink || e.Type == filetree.Hardlink):
		return fmt.Errorf("%q: a %s to nothing", e.Path, e.Type)
	case e.Size < 0:
		return fmt.Errorf("%q: its size is negative", e.Path)
	}
	return nil
}

// checkPath refuses paths that are not clean, or that no Linux file can have.
func checkPath(p string) error {
	switch {
	case len(p) > maxPath:
		return fmt.Errorf("%q…: its path has %d bytes; %d are possible", p[:64], len(p), maxPath)
	case strings.IndexByte(p, 0) >= 0:
		return fmt.Errorf("%q: its path has a NUL byte", p)
	case !isClean(p):
		return fmt.Errorf("%q: not a clean path", p)
	}
	return nil
}

// isClean says whether p is what [filetree.Clean] would make of it, without making it.
func isClean(p string) bool {
	if p == "" {
		return true
	}
	for {
		name, rest, more := strings.Cut(p, "/")
		if name == "" || name == "." || name == ".." {
			return false
		}
		if !more {
			return true
		}
		p = rest
	}
}

// ErrIgnored says that a header stands for nothing a file tree has: a PAX global header, or what aufs kept for itself.
var ErrIgnored = errors.New("not an entry")

// EntryFromHeader turns a tar header, which is not trusted, into an entry without digest and offset. Absolute paths and
// those with ".." are taken from the root and never leave it, as containerd does; whiteouts are recognised. The error
// wraps [ErrIgnored] for a header that is to be skipped.
func EntryFromHeader(h *tar.Header) (filetree.Entry, error) {
	e, err := entryFromHeader(h)
	if err != nil {
		return filetree.Entry{}, fmt.Errorf("%q: %w", shorten(h.Name), err)
	}
	return e, nil
}

func entryFromHeader(h *tar.Header) (filetree.Entry, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return filetree.Entry{}, ErrIgnored
	}
	p, err := readPath(h.Name)
	if err != nil {
		return filetree.Entry{}, err
	}
	if e, ok, err := whiteout(p); ok || err != nil {
		return e, err
	}
	e := filetree.Entry{Path: p, Mode: uint16(h.Mode & 0o7777), ModTime: nanoseconds(h.ModTime)}
	if e.UID, err = id("owner", h.Uid); err != nil {
		return e, err
	}
	if e.GID, err = id("group", h.Gid); err != nil {
		return e, err
	}
	if err := readType(&e, h); err != nil {
		return e, err
	}
	if p == "" && e.Type != filetree.Directory {
		return e, fmt.Errorf("the root directory cannot be a %s", e.Type)
	}
	e.Xattrs, err = readXattrs(h.PAXRecords)
	return e, err
}

func readType(e *filetree.Entry, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		if h.Size < 0 {
			return errors.New("its size is negative")
		}
		e.Type, e.Size = filetree.Regular, h.Size
	case tar.TypeDir:
		e.Type = filetree.Directory
	case tar.TypeFifo:
		e.Type = filetree.FIFO
	case tar.TypeChar, tar.TypeBlock:
		e.Type = filetree.CharDevice
		if h.Typeflag == tar.TypeBlock {
			e.Type = filetree.BlockDevice
		}
		e.Major, e.Minor = uint32(h.Devmajor), uint32(h.Devminor)
		if int64(e.Major) != h.Devmajor || int64(e.Minor) != h.Devminor {
			return fmt.Errorf("there is no device %d:%d", h.Devmajor, h.Devminor)
		}
	case tar.TypeSymlink:
		e.Type, e.Link = filetree.Symlink, h.Linkname
	case tar.TypeLink:
		target, err := readPath(h.Linkname)
		if err != nil {
			return fmt.Errorf("hardlink: %w", err)
		}
		e.Type, e.Link = filetree.Hardlink, target
	default:
		return fmt.Errorf("entries of type %q are not known", h.Typeflag)
	}
	if e.Type != filetree.Symlink && e.Type != filetree.Hardlink {
		return nil
	}
	switch {
	case e.Link == "":
		return fmt.Errorf("a %s to nothing", e.Type)
	case len(e.Link) > maxPath:
		return fmt.Errorf("its link has %d bytes; %d are possible", len(e.Link), maxPath)
	case strings.IndexByte(e.Link, 0) >= 0:
		return errors.New("its link has a NUL byte")
	}
	return nil
}

// readPath cleans a path from an archive.
func readPath(name string) (string, error) {
	// Checked first, for cleaning copies, and an archive may hold names of a megabyte.
	if len(name) > maxPath+len("./")+len("/") {
		return "", fmt.Errorf("its path has %d bytes; %d are possible", len(name), maxPath)
	}
	p := filetree.Clean(name)
	if len(p) > maxPath {
		return "", fmt.Errorf("its path has %d bytes; %d are possible", len(p), maxPath)
	}
	if strings.IndexByte(p, 0) >= 0 {
		return "", errors.New("its path has a NUL byte")
	}
	return p, nil
}

// whiteout recognises the marks of deletion by their name.
func whiteout(p string) (e filetree.Entry, ok bool, err error) {
	if !strings.Contains(p, whiteoutPrefix) {
		return filetree.Entry{}, false, nil
	}
	dir, base := filetree.Parent(p), filetree.Base(p)
	for dir := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(dir, whiteoutMeta) {
			return filetree.Entry{}, true, ErrIgnored
		}
		if strings.HasPrefix(dir, whiteoutPrefix) {
			return filetree.Entry{}, true, errors.New("it is below a whiteout")
		}
	}
	victim, found := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !found:
		return filetree.Entry{}, false, nil
	case base == whiteoutOpaque:
		return filetree.Entry{Path: dir, Type: filetree.Opaque}, true, nil
	case strings.HasPrefix(base, whiteoutMeta):
		return filetree.Entry{}, true, ErrIgnored
	case victim == "" || victim == "." || victim == "..":
		return filetree.Entry{}, true, errors.New("a whiteout of no file")
	}
	return filetree.Entry{Path: filetree.Join(dir, victim), Type: filetree.Whiteout}, true, nil
}

// nanoseconds is a time as entries have it; what does not fit becomes 1970, as in containerd.
func nanoseconds(t time.Time) int64 {
	const most = math.MaxInt64/int64(time.Second) - 1
	if s := t.Unix(); s < -most || s > most {
		return 0
	}
	return t.UnixNano()
}

func id(what string, n int) (uint32, error) {
	if n < 0 || uint64(n) > 1<<32-2 {
		return 0, fmt.Errorf("there is no %s %d", what, n)
	}
	return uint32(n), nil
}

// readXattrs takes over the extended attributes that mean the same in every rootfs. Left out are those that belong to the
// machine ("security.selinux", "trusted."), among them overlayfs's own, which could show a process other files.
func readXattrs(records map[string]string) (map[string]string, error) {
	var xattrs map[string]string
	for record, value := range records {
		name, ok := strings.CutPrefix(record, xattrRecord)
		if !ok || !portable(name) {
			continue
		}
		// The limits of xattr(7).
		if len(name) > 255 || len(value) > 64<<10 {
			return nil, fmt.Errorf("its extended attribute %q is too long", shorten(name))
		}
		if xattrs == nil {
			xattrs = map[string]string{}
		}
		xattrs[strings.Clone(name)] = strings.Clone(value)
	}
	return xattrs, nil
}

func portable(name string) bool {
	switch name {
	case capability, "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func shorten(s string) string {
	if len(s) > 256 {
		return s[:256] + "…"
	}
	return s
}

// pad is how many zero bytes follow content of a size.
func pad(size int64) int { return int(-size & (tarBlock - 1)) }

var zeros = bytes.Repeat([]byte{0}, 2*tarBlock)
