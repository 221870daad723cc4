package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDefinition bounds what is read of a Dockerfile or an ignore file.
const maxDefinition = 16 << 20

// maxLinks is Linux's limit on symlinks followed in one resolution, path_resolution(7).
const maxLinks = 40

// Dockerfile is the text of a Dockerfile with the name to show for it.
type Dockerfile struct {
	Name    string
	Content []byte
}

// Dockerfile reads the Dockerfile that the options named. An ignore file does not hide it.
func (c *Context) Dockerfile(ctx context.Context) (Dockerfile, error) {
	if err := ctx.Err(); err != nil {
		return Dockerfile{}, err
	}
	df := c.dockerfile
	if df.shown == "" {
		return Dockerfile{}, errors.New("read the Dockerfile: this build context was opened without one")
	}
	content, err := c.read(df, "")
	if err != nil {
		return Dockerfile{}, fmt.Errorf("read the Dockerfile %q: %w", df.shown, c.explainDefinition(err))
	}
	return Dockerfile{Name: df.shown, Content: content}, nil
}

// read reads the Dockerfile or a file beside it whose name has suffix added.
func (c *Context) read(df definition, suffix string) ([]byte, error) {
	if df.inside != "" {
		f, err := c.root.openInside(df.inside + suffix)
		if err != nil {
			return nil, err
		}
		return readAll(f, fs.FileMode.IsRegular)
	}
	// Outside of the context it is the user's own file, and may as well be a pipe.
	f, err := os.Open(df.path + suffix)
	if err != nil {
		return nil, withoutPath(err)
	}
	return readAll(f, isReadable)
}

// isReadable accepts what a user may name on the command line.
func isReadable(m fs.FileMode) bool {
	return m.IsRegular() || m&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0
}

// readAll reads a small file that has one of the types that accept likes, and closes it.
func readAll(f *os.File, accept func(fs.FileMode) bool) (_ []byte, err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	if st.IsDir() {
		return nil, unix.EISDIR
	}
	if !accept(st.Mode()) {
		return nil, errors.New("not a regular file")
	}
	content, err := io.ReadAll(io.LimitReader(f, maxDefinition+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(content) > maxDefinition {
		return nil, fmt.Errorf("larger than %d MiB", maxDefinition>>20)
	}
	return content, nil
}

// explainDefinition adds to an error about the Dockerfile what the user can do.
func (c *Context) explainDefinition(err error) error {
	df := c.dockerfile
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if df.inside == "" {
		if st, e := c.root.stat(strings.TrimPrefix(df.shown, "./")); e == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
			return fmt.Errorf("not found; the path is relative to the working directory, and the build context has such a file: use -f %q", c.dir+"/"+df.shown)
		}
		return errors.New("not found")
	}
	if target, e := c.root.readlink(df.inside); e == nil && target != "" {
		return fmt.Errorf("is a symlink to %q, which is not in the build context; name the file itself with -f", target)
	}
	return errors.New("not found; name it with -f")
}

// follow resolves the symlinks of a path as if the directory were the root directory, and returns the path without any.
func (d *directory) follow(p string) (string, error) {
	var real []string
	links := 0
	for pending := strings.Split(p, "/"); len(pending) > 0; {
		name := pending[0]
		pending = pending[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			real = real[:max(len(real)-1, 0)]
			continue
		}
		next := append(real[:len(real):len(real)], name)
		target, err := d.readlink(strings.Join(next, "/"))
		if err != nil {
			return "", err
		}
		if target == "" {
			real = next
			continue
		}
		if links++; links > maxLinks {
			return "", unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			real = nil
		}
		pending = append(strings.Split(target, "/"), pending...)
	}
	return strings.Join(real, "/"), nil
}

// withoutPath drops the operation and path that package os puts before an error; our messages have them already.
func withoutPath(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
