package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// direntBuffer is what is read of a directory at once.
const direntBuffer = 64 << 10

// Offsets in struct linux_dirent64; both architectures are little-endian.
const (
	direntLength = 16
	direntName   = 19
)

// names reads the names in an open directory, sorted. They share one string, in which a NUL follows each: so they can be
// given to the kernel as they are, and take no memory of their own.
func (w *walker) names(fd int, p string) ([]file, error) {
	buffer := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(buffer)
	var all strings.Builder
	var ends []int
	for {
		n, err := unix.Getdents(fd, *buffer)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOENT): // the directory was removed
			n = 0
		case err != nil:
			return nil, fmt.Errorf("read directory %q: %w", p, err)
		}
		if n == 0 {
			break
		}
		for b := (*buffer)[:n]; len(b) > direntName; {
			length := int(binary.LittleEndian.Uint16(b[direntLength:]))
			name := b[direntName:length]
			name = name[:strings.IndexByte(unsafe.String(&name[0], len(name)), 0)]
			if string(name) != "." && string(name) != ".." {
				all.Write(name)
				all.WriteByte(0)
				ends = append(ends, all.Len())
			}
			b = b[length:]
		}
	}
	files, text, start := make([]file, len(ends)), all.String(), 0
	for i, end := range ends {
		files[i].name = text[start : end-1]
		start = end
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// statx asks what the kernel knows of a file. A NUL must follow the name where it lies.
func statx(dirfd int, name string, flags int, st *unix.Statx_t) error {
	at := unsafe.StringData("\x00")
	if name != "" {
		at = unsafe.StringData(name)
	}
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dirfd), uintptr(unsafe.Pointer(at)), uintptr(flags),
			unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(st)), 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
