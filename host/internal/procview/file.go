//go:build amd64

package procview

import (
	"bytes"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// File is a file that is read by whoever names its path; what lies there on the disk is not looked at.
type File struct {
	Path     string // absolute and clean
	Content  []byte
	Mode     uint32 // 0 means 0444
	UID, GID uint32
}

// makeFiles puts the files into memory.
func (s *server) makeFiles(files []File) error {
	s.files, s.fileNames = map[string]int{}, map[string]bool{}
	for _, f := range files {
		fd, err := memoryFile("file", string(f.Content))
		if err != nil {
			return err
		}
		mode := f.Mode
		if mode == 0 {
			mode = 0o444
		}
		if err := unix.Fchown(fd, int(f.UID), int(f.GID)); err != nil {
			return fmt.Errorf("give file %q to its owner: %w", f.Path, err)
		}
		if err := unix.Fchmod(fd, mode&0o7777); err != nil {
			return fmt.Errorf("set mode of file %q: %w", f.Path, err)
		}
		s.files[path.Clean(f.Path)], s.fileNames[path.Base(f.Path)] = fd, true
	}
	return nil
}

// served finds the file that a path names: as the caller wrote it, or from its directory, or through links. The name in the
// end tells most paths apart from those of files.
func (w *worker) served(r *notify.Request, c call, name []byte) (place, bool) {
	if len(w.files) == 0 {
		return place{}, false
	}
	fd, ok := w.files[string(name)]
	if last := name[bytes.LastIndexByte(name, '/')+1:]; !ok && w.fileNames[string(last)] {
		dir := w.directoryOf(r, c, string(name[:len(name)-len(last)]))
		fd, ok = w.files[path.Join(dir, string(last))]
	}
	return place{kind: given, path: fmt.Sprintf("self/fd/%d", fd), magic: true}, ok
}

// directoryOf is what a directory is called that the caller names, empty where there is none.
func (w *worker) directoryOf(r *notify.Request, c call, name string) string {
	dir := unix.AT_FDCWD
	if name == "" || name[0] != '/' {
		from := "cwd"
		if c.dir != 0 && int32(r.Args[c.dir-1]) != unix.AT_FDCWD {
			from = fmt.Sprintf("fd/%d", int32(r.Args[c.dir-1]))
		}
		dir, name = w.proc, fmt.Sprintf("%d/%s/%s", r.TID, from, name)
	}
	if err := w.look(r); err != nil {
		return ""
	}
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil || !w.listener.Valid(r) {
		return ""
	}
	defer closeFD(fd)
	at, err := w.linkOf(fmt.Sprintf("self/fd/%d", fd))
	if err != nil {
		return ""
	}
	return at
}
