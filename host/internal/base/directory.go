package base

import (
	"errors"
	"fmt"
	"os"
)

// directory is the files of a directory that is not trusted: no name leads out of it.
type directory struct{ *os.Root }

func openDirectory(dir string) (directory, error) {
	root, err := os.OpenRoot(dir)
	return directory{root}, err
}

// open opens a regular file; a FIFO there must not block the build.
func (d directory) open(name string) (file, error) {
	info, err := d.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return plainFile{f, info.Size()}, nil
}

// plainFile is a file of a file system.
type plainFile struct {
	*os.File
	bytes int64
}

func (f plainFile) size() int64 { return f.bytes }
