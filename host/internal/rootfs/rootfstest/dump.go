package rootfstest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Dump describes a directory tree on disk, one line for each file. Hardlinks are told from their first name.
func Dump(dir string) ([]string, error) {
	var lines []string
	first := map[uint64]string{}
	var walk func(p string) error
	walk = func(p string) error {
		full := dir + "/" + p
		var st unix.Stat_t
		if err := unix.Lstat(full, &st); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		content := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(full)
			if err != nil {
				return err
			}
			content = shorten(string(b))
		case unix.S_IFLNK:
			content, _ = os.Readlink(full)
			st.Mode |= 0o777
		case unix.S_IFCHR, unix.S_IFBLK:
			content = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
			if name, ok := first[st.Ino]; ok {
				lines = append(lines, fmt.Sprintf("%s = %s", p, name))
				return nil
			}
			first[st.Ino] = p
		}
		lines = append(lines, line(p, st.Mode, st.Uid, st.Gid, st.Mtim.Nano(), content)+caps(full))
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil
		}
		names, err := os.ReadDir(full)
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := walk(strings.TrimPrefix(p+"/"+n.Name(), "/")); err != nil {
				return err
			}
		}
		return nil
	}
	return lines, walk("")
}

func line(p string, mode, uid, gid uint32, mtime int64, content string) string {
	return fmt.Sprintf("%q %o %d:%d %d %q", p, mode, uid, gid, mtime, content)
}

func shorten(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%.20q… %d bytes, SHA-256 %x", s, len(s), sha256.Sum256([]byte(s)))
	}
	return s
}

func caps(full string) string {
	var b [64]byte
	n, err := unix.Lgetxattr(full, "security.capability", b[:])
	if err != nil {
		if !errors.Is(err, unix.ENODATA) {
			return " " + err.Error()
		}
		return ""
	}
	return fmt.Sprintf(" capability %x", b[:n])
}

// Expect describes a tree as Dump describes it on disk.
func Expect(t *testing.T, tree *filetree.Tree) []string {
	t.Helper()
	owners := Options(t).Owners
	var lines []string
	first := map[any]string{}
	err := tree.Walk("", func(p string, n *filetree.Node) (bool, error) {
		e := n.Entry(p)
		if name, ok := first[n.FileID()]; ok {
			lines = append(lines, fmt.Sprintf("%s = %s", p, name))
			return false, nil
		}
		first[n.FileID()] = p
		mode, content := uint32(e.Mode), ""
		switch e.Type {
		case filetree.Directory:
			mode |= unix.S_IFDIR
		case filetree.Symlink:
			mode, content = unix.S_IFLNK|0o777, e.Link
		case filetree.FIFO:
			mode |= unix.S_IFIFO
		case filetree.CharDevice:
			mode, content = mode|unix.S_IFCHR, fmt.Sprintf("%d:%d", e.Major, e.Minor)
		case filetree.BlockDevice:
			mode, content = mode|unix.S_IFBLK, fmt.Sprintf("%d:%d", e.Major, e.Minor)
		case filetree.Regular:
			mode |= unix.S_IFREG
			if src, ref := n.Source(p); e.Size > 0 {
				r, err := src.Open(t.Context(), ref)
				if err != nil {
					return false, err
				}
				b, err := io.ReadAll(r)
				if err != nil {
					return false, err
				}
				content = shorten(string(b))
			}
		}
		uid, gid := owners.OnDisk(e.UID, e.GID)
		l := line(p, mode, uid, gid, e.ModTime, content)
		if c, ok := e.Xattrs["security.capability"]; ok {
			l += fmt.Sprintf(" capability %x", c)
		}
		lines = append(lines, l)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// WithoutDirectoryTimes drops the times of directories from what Dump or Expect says.
func WithoutDirectoryTimes(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		f := strings.Fields(l)
		if len(f) > 3 && strings.HasPrefix(f[1], "4") && len(f[1]) == len("40755") {
			f[3] = "-"
		}
		out[i] = strings.Join(f, " ")
	}
	return out
}
