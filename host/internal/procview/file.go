//go:build amd64

package procview

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// File is a file that exists for whoever names its path, and in no directory.
type File struct {
	Path     string // absolute and clean
	Content  []byte
	Mode     uint32 // 0 means 0444
	UID, GID uint32
}

// makeFiles puts the files into memory.
func (s *server) makeFiles(files []File) error {
	s.files = map[string]int{}
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
		s.files[path.Clean(f.Path)] = fd
	}
	return nil
}

// served finds the file that a path names, as the caller wrote it.
func (s *server) served(name []byte) (place, bool) {
	if len(s.files) == 0 || name[0] != '/' {
		return place{}, false
	}
	fd, ok := s.files[string(name)]
	if !ok {
		fd, ok = s.files[path.Clean(string(name))]
	}
	return place{kind: given, path: fmt.Sprintf("self/fd/%d", fd), magic: true}, ok
}
