package output

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeBuffer gathers the small writes of archives.
const writeBuffer = 1 << 20

// replaceFile writes a file beside dest and renames it there when it is whole. What is no regular file, such as a pipe or
// /dev/null, is written to directly. Missing directories are made.
func replaceFile(dest string, write func(io.Writer) error) (err error) {
	info, err := os.Stat(dest)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%q is a directory: name a file", dest)
	case err == nil && !info.Mode().IsRegular():
		return writeThrough(dest, write)
	case err == nil:
		// A symlink keeps pointing at what it names, as it would if the file were overwritten.
		if dest, err = filepath.EvalSymlinks(dest); err != nil {
			return err
		}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(dest), "."+filepath.Base(dest)+"."+rand.Text())
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if err := errors.Join(buffered(f, write), f.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, dest); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

func writeThrough(dest string, write func(io.Writer) error) error {
	f, err := os.OpenFile(dest, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(buffered(f, write), f.Close())
}

func buffered(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, writeBuffer)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}
