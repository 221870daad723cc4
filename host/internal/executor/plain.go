package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Where nothing can be mounted a root file system is one plain directory with the files of all its layers. What a process
// changes it changes there, and who wants to know what it was compares the directory with what it was before.

// The rungs whose root file system is a plain directory.
const (
	RungInPlace    Rung = "inplace"    // the builder's own root directory, for as long as the process runs
	RungSupervised Rung = "supervised" // chroot with Landlock, and a supervisor that serves /proc
	RungChroot     Rung = "chroot"     // chroot with a /proc of dead files
)

// plain says whether the rung is one of those.
func (r Rung) plain() bool { return r == RungInPlace || r == RungSupervised || r == RungChroot }

// Plain is a root file system that is one directory.
type Plain struct {
	// Dir is its absolute path. Nothing else may change it while a process runs in it.
	Dir string
	// Aside is the absolute path of an empty directory outside Dir and on its file system: it takes, while the process runs,
	// what mounts cover. It is empty again afterwards.
	Aside string
	// Keep are absolute paths that the builder reads by their names while a process runs in [RungInPlace]: they stay where
	// they are. The directories that Dir and Aside lie in stay without being named.
	Keep []string
	// Veil are absolute paths of files with credentials: in [RungInPlace] they are in memory alone while the process runs.
	Veil []string
}

// Shift is a file, not a directory, that the executor moved: its status change time is other than before, though no process
// changed it. If it has the time New it is as it was when it had the time Old.
type Shift struct {
	Path     string // as in a [filetree.Entry]: relative to the root, without a leading slash
	Old, New unix.Timespec
}

func (r Plain) check() error {
	for _, dir := range []string{r.Dir, r.Aside} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("root file system directory %q: want an absolute path", dir)
		}
	}
	return nil
}

// RunPlain is [Launcher.Run] in a plain directory. When it returns, whatever came of it, the directory is as the process
// left it: of mounts and of what else the process was shown nothing is left. In [RungInPlace] it must not be called while
// another call runs.
func (l *Launcher) RunPlain(ctx context.Context, rung Rung, root Plain, p Process) (_ []Shift, err error) {
	if err := errors.Join(root.check(), p.check()); err != nil {
		return nil, err
	}
	if p.ShmSize > 0 {
		return nil, &SetupError{Call: "size /dev/shm", Err: fmt.Errorf("isolation %q mounts nothing there", rung), Hint: "leave out --shm-size"}
	}
	switch rung {
	case RungInPlace:
		return l.runInPlace(ctx, root, p)
	case RungSupervised:
		return l.runSupervised(ctx, root, p)
	case RungChroot:
		return l.runChroot(ctx, root, p)
	}
	return nil, fmt.Errorf("rung %q has no plain root file system", rung)
}

// openPlain opens a plain root file system and the directory beside it.
func openPlain(root, aside string) (dir, beside *os.File, err error) {
	if dir, err = os.Open(root); err != nil {
		return nil, nil, failure("open root file system", root, err)
	}
	if beside, err = os.Open(aside); err != nil {
		return nil, nil, errors.Join(failure("open directory", aside, err), dir.Close())
	}
	return dir, beside, nil
}
