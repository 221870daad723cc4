package box

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// File is a file as a process sees it.
type File struct {
	Path     string
	Type     string // file, directory, symlink, fifo, char or block
	Mode     string // permissions in octal
	UID, GID int
	Size     int64
	Digest   string `json:",omitempty"`
	Target   string `json:",omitempty"`
	Device   string `json:",omitempty"`
	Cap      string `json:",omitempty"` // security.capability, in hexadecimal
	Inode    uint64
	Time     time.Time
}

// Foreign are the paths that are not the image's in a container.
func Foreign() []string {
	return []string{"/proc", "/sys", "/dev", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname"}
}

// manifest prints a line of JSON for each file of the image that it runs in.
func manifest(i *invocation) error {
	encoder := json.NewEncoder(i.out)
	return filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(Foreign(), path) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		f, err := describe(path)
		return errors.Join(err, encoder.Encode(f))
	})
}

func describe(path string) (File, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return File{}, fmt.Errorf("stat %s: %w", path, err)
	}
	f := File{
		Path: path, Mode: fmt.Sprintf("%04o", st.Mode&0o7777), UID: int(st.Uid), GID: int(st.Gid), Inode: st.Ino,
		Time: time.Unix(st.Mtim.Unix()).UTC(),
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Type = "directory"
	case unix.S_IFREG:
		text, err := os.ReadFile(path)
		if err != nil {
			return f, err
		}
		f.Type, f.Size, f.Digest = "file", st.Size, fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return f, err
		}
		f.Type, f.Target = "symlink", target
	case unix.S_IFIFO:
		f.Type = "fifo"
	case unix.S_IFCHR:
		f.Type, f.Device = "char", device
	case unix.S_IFBLK:
		f.Type, f.Device = "block", device
	}
	var capability [64]byte
	if n, err := unix.Lgetxattr(path, "security.capability", capability[:]); err == nil {
		f.Cap = fmt.Sprintf("%x", capability[:n])
	}
	return f, nil
}
