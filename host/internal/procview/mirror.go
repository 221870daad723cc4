//go:build amd64

package procview

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A process that opens a directory of /proc gets one of the mirror: a directory of the root file system with the same names
// in it, and nothing behind them. It reads the names there; what it opens by them comes to us again, because the descriptor
// has a high number.

// mirrorName is the mirror's name in the root's own /proc.
const mirrorName = ".mirror"

const (
	mirrorPath = "/proc/" + mirrorName
	gonePath   = "/proc/.gone" // takes directories of processes that have ended
)

// fromMirror gives the place in /proc that an absolute path stands for: of the mirror, or where a working directory is.
func fromMirror(path string) (string, bool) {
	for _, prefix := range []string{mirrorPath, "/proc"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
			return "/proc" + rest, true
		}
	}
	return "", false
}

// makeMirror makes its root, in a /proc that is the executor's own and nobody else's yet.
func (s *server) makeMirror() error {
	for _, dir := range []string{mirrorPath, gonePath} {
		if err := unix.Mkdir(dir, 0o555); err != nil {
			return fmt.Errorf("make directory %q: %w", dir, err)
		}
	}
	return placeStandIn(standInPath)
}

// reflect brings the mirror of a directory up to date and opens it. real is the open directory of the real /proc, which the
// caller had the right to open.
func (w *worker) reflect(path string, real int) (int, error) {
	names, err := w.namesIn(path, real)
	if err != nil {
		return -1, err
	}
	if err := w.asOurselves(); err != nil {
		return -1, err
	}
	w.mirror.Lock()
	defer w.mirror.Unlock()
	dir, err := openMirror(path, true)
	if err != nil {
		return -1, err
	}
	have, err := readNames(dir)
	if err != nil {
		closeFD(dir)
		return -1, err
	}
	for name, kind := range have {
		if names[name] != kind {
			w.remove(dir, name, kind)
		}
	}
	for name, kind := range names {
		if have[name] != kind {
			mark(dir, name, kind)
		}
	}
	if _, err := unix.Seek(dir, 0, 0); err != nil {
		closeFD(dir)
		return -1, err
	}
	return dir, nil
}

// openMirror opens the mirror of a directory, without following links, and makes it where it is missing.
func openMirror(path string, make bool) (int, error) {
	dir, err := unix.Open(mirrorPath, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil || path == "" {
		return dir, err
	}
	for name := range strings.SplitSeq(path, "/") {
		if make {
			_ = unix.Mkdirat(dir, name, 0o555)
		}
		next, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		closeFD(dir)
		if err != nil {
			return -1, err
		}
		dir = next
	}
	return dir, nil
}

// namesIn are those that a process may see in a directory of the real /proc, with their types.
func (w *worker) namesIn(path string, real int) (map[string]uint8, error) {
	names, err := readNames(real)
	if err != nil || path != "" {
		return names, err
	}
	var pids []int
	for name := range names {
		if isNumber(name) {
			pids = append(pids, number(name))
		}
		if hiddenEntry(name) {
			delete(names, name)
		}
	}
	ours := w.members(pids)
	for name := range names {
		if isNumber(name) && !ours[number(name)] {
			delete(names, name)
		}
	}
	return names, nil
}

// readNames reads a directory from its start.
func readNames(dir int) (map[string]uint8, error) {
	names := map[string]uint8{}
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil || n <= 0 {
			return names, err
		}
		for at := buf[:n]; len(at) >= 19; {
			size := int(at[16]) | int(at[17])<<8
			name, _, _ := strings.Cut(string(at[19:size]), "\x00")
			if name != "." && name != ".." {
				names[name] = at[18]
			}
			at = at[size:]
		}
	}
}

// mark puts a name into the mirror. A failure leaves it out: the mirror shows names and serves no access.
func mark(dir int, name string, kind uint8) {
	switch kind {
	case unix.DT_DIR:
		_ = unix.Mkdirat(dir, name, 0o555)
	case unix.DT_LNK:
		_ = unix.Symlinkat("not-served", dir, name)
	default:
		_ = unix.Mknodat(dir, name, unix.S_IFREG|0o444, 0)
	}
}

// remove takes a name away. A directory goes with all that is below, as that of a process that has ended; but whoever reads
// it goes on reading, so it is moved, not deleted.
func (s *server) remove(dir int, name string, kind uint8) {
	if kind != unix.DT_DIR {
		_ = unix.Unlinkat(dir, name, 0)
		return
	}
	s.removed++
	_ = unix.Renameat(dir, name, unix.AT_FDCWD, fmt.Sprintf("%s/%d", gonePath, s.removed))
}
