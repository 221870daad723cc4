package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxOptions is what mount(2) copies of its options: a page, with room for its NUL.
const maxOptions = 4095

// mountOverlay mounts r's layers on r.Merged and returns the mount's root. The scratch directory is used to give layers
// short names where theirs do not fit into a page of options.
func (a *assembly) mountOverlay(r Rootfs, scratch *scratch) (int, error) {
	lowers := r.Lowers
	if r.Upper == "" && len(lowers) == 1 {
		// Overlayfs wants two directories where none is to be written; without it whiteouts would show.
		empty, err := scratch.emptyDirectory()
		if err != nil {
			return -1, err
		}
		lowers = []string{lowers[0], empty}
	}
	options, err := a.overlayOptions(r)
	if err != nil {
		return -1, err
	}
	dir, lowerdir := r.LayersDir, strings.Join(lowers, ":")
	if len(options)+len(lowerdir)+len("lowerdir=,") > maxOptions {
		if dir, lowerdir, err = scratch.shortNames(r.LayersDir, lowers); err != nil {
			return -1, err
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return -1, failure("enter layers' directory", dir, err)
	}
	flags := uintptr(0)
	if a.guard != 0 {
		flags = unix.MS_NODEV
	}
	err = unix.Mount("trowel", r.Merged, "overlay", flags, "lowerdir="+lowerdir+","+options)
	if err = errors.Join(err, unix.Chdir("/")); err != nil {
		return -1, a.explainOverlay(r, err)
	}
	fd, err := unix.Open(r.Merged, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, failure("open root file system", r.Merged, err)
	}
	return fd, nil
}

// overlayOptions turns off what would store layers' relations in attributes that no image can carry, and syncing: an upper
// directory that a crash left behind is never used again.
func (a *assembly) overlayOptions(r Rootfs) (string, error) {
	options := "redirect_dir=nofollow,metacopy=off,index=off"
	if a.ids.initial {
		options += ",xino=off"
	} else {
		options += ",userxattr"
	}
	if r.Upper == "" {
		return options, nil
	}
	// Names are free, so they are given by descriptor: nothing to escape, nothing too long.
	upper, err := openDirectory(r.Upper)
	if err != nil {
		return "", err
	}
	work, err := openDirectory(r.Work)
	if err != nil {
		return "", err
	}
	a.outside = append(a.outside, upper, work)
	// The mark of a volatile mount outlives it, to refuse the directory after a crash. A second process of the same
	// step uses it again.
	if err := os.RemoveAll(filepath.Join(r.Work, "work", "incompat")); err != nil {
		return "", failure("reuse work directory", r.Work, err)
	}
	return options + fmt.Sprintf(",volatile,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d", upper, work), nil
}

func (a *assembly) explainOverlay(r Rootfs, err error) error {
	setup := &SetupError{Call: "mount overlay", Err: err}
	var fs unix.Statfs_t
	switch {
	case r.Upper != "" && unix.Statfs(r.Upper, &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC:
		setup.Hint = fmt.Sprintf("%q lies on an overlay itself: put the state directory on a volume", r.Upper)
	case errors.Is(err, unix.EINVAL) && !a.ids.initial:
		setup.Hint = "overlayfs in a user namespace needs Linux 5.11"
	case errors.Is(err, unix.ENODEV):
		setup.Hint = "the kernel has no overlayfs: load the module \"overlay\""
	}
	return setup
}

func openDirectory(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, failure("open directory", path, err)
	}
	return fd, nil
}

// scratch is a small file system in memory, hidden below the root file system's mount, for what the mounts show: files by
// content, names for layers, emptiness.
type scratch struct {
	path  string
	mount int
	count int
}

// newScratch mounts one at path.
func newScratch(path string) (*scratch, error) {
	fd, err := newMount("tmpfs", 0, option{"mode", "0755"}, option{"size", "64m"})
	if err != nil {
		return nil, err
	}
	at, err := openDirectory(path)
	if err != nil {
		return nil, err
	}
	if err := attach(fd, at); err != nil {
		return nil, failure("mount scratch directory", path, err)
	}
	return &scratch{path: path, mount: fd}, errorOf("close directory", unix.Close(at))
}

func (s *scratch) name() string {
	s.count++
	return fmt.Sprintf("%d", s.count)
}

// file makes a file and returns a mount of it.
func (s *scratch) file(content []byte, mode, uid, gid uint32) (int, error) {
	name := s.name()
	fd, err := unix.Openat(s.mount, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, failure("create scratch file", "", err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = f.Write(content)
	err = errors.Join(err, unix.Fchown(fd, int(uid), int(gid)), unix.Fchmod(fd, mode), f.Close())
	if err != nil {
		return -1, failure("write scratch file", "", err)
	}
	return cloneMount(s.mount, name)
}

// directory makes an empty directory and returns a mount of it.
func (s *scratch) directory() (int, error) {
	name := s.name()
	if err := unix.Mkdirat(s.mount, name, 0o755); err != nil {
		return -1, failure("create scratch directory", "", err)
	}
	return cloneMount(s.mount, name)
}

// emptyDirectory returns an empty directory's path, good until the root file system covers it.
func (s *scratch) emptyDirectory() (string, error) {
	name := s.name()
	if err := unix.Mkdirat(s.mount, name, 0o755); err != nil {
		return "", failure("create scratch directory", "", err)
	}
	return filepath.Join(s.path, name), nil
}

// shortNames links to layers by numbers: five hundred, which is overlayfs' limit, fit into half a page.
func (s *scratch) shortNames(dir string, lowers []string) (links, lowerdir string, err error) {
	name := s.name()
	if err := unix.Mkdirat(s.mount, name, 0o755); err != nil {
		return "", "", failure("create scratch directory", "", err)
	}
	var names []string
	for i, lower := range lowers {
		if !filepath.IsAbs(lower) {
			lower = filepath.Join(dir, lower)
		}
		link := fmt.Sprintf("%d", i)
		if err := unix.Symlinkat(lower, s.mount, name+"/"+link); err != nil {
			return "", "", failure("name a layer", lower, err)
		}
		names = append(names, link)
	}
	return filepath.Join(s.path, name), strings.Join(names, ":"), nil
}
