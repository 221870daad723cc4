package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// guard watches what a swap leaves in the root directory. What a process writes there is in no image: that must not go
// unnoticed.
type guard struct {
	root   string
	before map[pin]string      // what a pin looked like
	fresh  map[string][]string // what directories held that every process finds fresh in other rungs
}

// fresh are those directories.
func fresh() []string { return []string{"dev", "dev/shm", "dev/mqueue"} }

func watch(root string, pins []pin) (*guard, error) {
	g := &guard{root: root, before: map[pin]string{}, fresh: map[string][]string{}}
	for _, dir := range fresh() {
		names, err := namesIn(filepath.Join(root, dir))
		if err != nil {
			return nil, err
		}
		g.fresh[dir] = names
	}
	for _, p := range pins {
		text, err := g.describe(p)
		if err != nil {
			return nil, failure("stat", "/"+p.Path, err)
		}
		g.before[p] = text
	}
	return g, nil
}

// check empties what shall be fresh, and tells of what the process has written to and nobody will see.
func (g *guard) check() error {
	var errs []error
	for dir, before := range g.fresh {
		names, err := namesIn(filepath.Join(g.root, dir))
		errs = append(errs, err)
		for _, name := range names {
			if !slices.Contains(before, name) {
				errs = append(errs, os.RemoveAll(filepath.Join(g.root, dir, name)))
			}
		}
	}
	for p, before := range g.before {
		after, err := g.describe(p)
		switch {
		case errors.Is(err, unix.ENOENT):
			errs = append(errs, failure("run in place", "/"+p.Path, errors.New("the process has removed what the builder needs")))
		case err != nil:
			errs = append(errs, failure("stat", "/"+p.Path, err))
		case after != before && p.Kind == pinOwn:
			errs = append(errs, failure("run in place", "/"+p.Path, errors.New("the process has changed what the builder needs")))
		case after != before:
			errs = append(errs, &SetupError{
				Call: "run in place", Subject: "/" + p.Path, Err: errors.New("something was written there, where the container has a mount: it is not in the image"),
				Hint: "mount the container's volume elsewhere, choose another directory in the Dockerfile, or another --isolation",
			})
		}
	}
	return errors.Join(errs...)
}

// describe says what would be different after a change that matters. The content of a mounted directory is told by its names:
// who writes below a directory has made it, or knows the volume.
func (g *guard) describe(p pin) (string, error) {
	if p.Kind == pinKernel && p.Path != "etc/hostname" {
		return string(p.Kind), nil
	}
	path := filepath.Join(g.root, p.Path)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s %d:%d %o", p.Kind, st.Dev, st.Ino, st.Mode)
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if !isDir || p.Kind != pinOwn {
		text += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
	}
	switch {
	case !isDir:
		text += fmt.Sprintf(" %d %v %v", st.Size, st.Mtim, st.Ctim)
	case p.Kind == pinMount:
		names, err := namesIn(path)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(" %q", names)
	}
	return text, nil
}

// namesIn are the names in a directory, sorted; none where there is no directory.
func namesIn(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failure("open directory", dir, err)
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, failure("read directory", dir, err)
	}
	return names, nil
}
