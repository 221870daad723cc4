package executor

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A veil keeps files with credentials in memory alone while a process runs in place: the process is root, or may become it,
// and would find them wherever they lie on disk. Their only copy is in a memory file, which the supervisor has too: if the
// builder is killed, it puts them back. When all processes have ended it leaves a copy on disk, which the next builder puts back
// if this one is killed before it does. If both are killed they are lost with the container's other state; nothing on disk could
// be kept from the process.
type veil struct {
	memory *os.File
	hidden *os.File // the directory that takes the copy
}

// veilName is the copy's.
const veilName = "veil"

// veiledFile is one such file.
type veiledFile struct {
	Path     string
	Content  []byte
	Mode     uint32
	UID, GID int
	Modified unix.Timespec
}

// maxVeiled bounds a file with credentials.
const maxVeiled = 4 << 20

// drawVeil takes files off the disk. Those that cannot be taken are told of.
func drawVeil(hidden *os.File, paths []string, tell func(path string, err error)) (_ *veil, err error) {
	var files []veiledFile
	for _, path := range paths {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue // there is none
		}
		f, err := readVeiled(real)
		if err != nil {
			tell(path, err)
			continue
		}
		files = append(files, f)
	}
	fd, err := unix.MemfdCreate("trowel-veil", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, failure("create memory file", "", err)
	}
	v := &veil{memory: os.NewFile(uintptr(fd), "veil"), hidden: hidden}
	if err := gob.NewEncoder(v.memory).Encode(files); err != nil {
		return nil, errors.Join(failure("write memory file", "", err), v.memory.Close())
	}
	for _, f := range files {
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			tell(f.Path, err)
		}
	}
	return v, nil
}

func readVeiled(path string) (veiledFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return veiledFile{}, err
	}
	v := veiledFile{Path: path}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxVeiled) {
		err = fmt.Errorf("it is no ordinary file of at most %d MiB", maxVeiled>>20)
	}
	if err == nil {
		v.Content, err = io.ReadAll(f)
	}
	v.Mode, v.UID, v.GID, v.Modified = st.Mode&0o7777, int(st.Uid), int(st.Gid), st.Mtim
	return v, errors.Join(err, f.Close())
}

// lift puts the files back where there is none of the name now.
func (v *veil) lift() error {
	return errors.Join(liftVeil(v.memory), v.memory.Close(), removeSavedVeil(v.hidden))
}

// saveVeil makes the copy on disk, whole or not at all.
func saveVeil(memory, hidden *os.File) error {
	text, err := readVeil(memory)
	if err != nil {
		return err
	}
	if files, err := decodeVeil(text); err != nil || len(files) == 0 {
		return err
	}
	const new = veilName + ".new"
	dir := int(hidden.Fd())
	if err := unix.Unlinkat(dir, new, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	fd, err := unix.Openat(dir, new, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), new)
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, unix.Unlinkat(dir, new, 0))
	}
	return unix.Renameat(dir, new, dir, veilName)
}

func removeSavedVeil(hidden *os.File) error {
	if err := unix.Unlinkat(int(hidden.Fd()), veilName, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return failure("remove copy of files", veilName, err)
	}
	return nil
}

// liftSavedVeil puts back what a builder that was killed has left to be put back.
func liftSavedVeil(hidden string) error {
	dir, err := os.Open(hidden)
	if err != nil {
		return failure("open hidden directory", hidden, err)
	}
	fd, err := unix.Openat(int(dir.Fd()), veilName, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOENT) {
		return dir.Close()
	}
	if err == nil {
		saved := os.NewFile(uintptr(fd), veilName)
		err = errors.Join(liftVeil(saved), saved.Close())
	}
	return errors.Join(err, removeSavedVeil(dir), dir.Close())
}

func readVeil(memory *os.File) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(memory.Fd()), &st); err != nil {
		return nil, failure("read memory file", "", err)
	}
	text := make([]byte, st.Size)
	if _, err := memory.ReadAt(text, 0); err != nil {
		return nil, failure("read memory file", "", err)
	}
	return text, nil
}

func decodeVeil(text []byte) (files []veiledFile, err error) {
	if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&files); err != nil {
		return nil, failure("read memory file", "", err)
	}
	return files, nil
}

func liftVeil(memory *os.File) error {
	text, err := readVeil(memory)
	if err != nil {
		return err
	}
	files, err := decodeVeil(text)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if err := f.write(); err != nil && !errors.Is(err, os.ErrExist) {
			errs = append(errs, failure("put back", f.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (v veiledFile) write() error {
	f, err := os.OpenFile(v.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(v.Content)
	fd := int(f.Fd())
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, v.Modified}
	return errors.Join(err, unix.Fchown(fd, v.UID, v.GID), unix.Fchmod(fd, v.Mode), f.Close(), unix.UtimesNanoAt(unix.AT_FDCWD, v.Path, times, 0))
}
