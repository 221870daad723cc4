package executor

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/rootfs"
)

// A secret is a file in memory: at its target if the root file system is in memory itself, and else in a directory of a file
// system in memory that is seen inside, with a symlink at the target. Where there is neither it is refused. When the process is
// over the file is emptied before it is deleted, so that no other name of it keeps the content; and a process of ours that
// waits for the builder's end does so where the builder is killed.

// secretFile is a file that holds a secret, open as a path.
type secretFile struct {
	fd    int
	mount Mount
}

// memoryDirectory is where secrets lie whose targets are on a disk.
type memoryDirectory struct {
	fd    int
	path  string // inside
	count int
}

// showSecret makes the file, still empty.
func (l *laid) showSecret(c *cover, m Mount) error {
	if c.filled {
		return errInTheWay
	}
	if !inMemory(c.spot.dir()) {
		return l.showSecretLink(c, m)
	}
	if err := l.makeFile(c, func(int) error { return nil }); err != nil {
		return err
	}
	l.addSecret(c.made, m)
	return nil
}

func (l *laid) addSecret(fd int, m Mount) {
	l.secrets = append(l.secrets, secretFile{fd, m})
	l.cleanUps = append(l.cleanUps, func() error { return errorOf("empty a secret's file", empty(fd)) })
}

// write gives the file its content, then its looks.
func (s secretFile) write() error {
	fd, err := unix.Open(descriptorPath(s.fd), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	mode := s.mount.Mode
	if mode == 0 {
		mode = 0o444
	}
	return errors.Join(writeAll(fd, s.mount.Content), chown(fd, s.mount.UID, s.mount.GID), unix.Fchmod(fd, mode&0o7777), unix.Close(fd))
}

// empty takes a file's content, whatever its mode.
func empty(fd int) error {
	return errors.Join(chmod(fd, 0o600), unix.Truncate(descriptorPath(fd), 0))
}

func (l *laid) showSecretLink(c *cover, m Mount) error {
	if err := l.findMemory(); err != nil {
		return err
	}
	d := l.memory
	d.count++
	name := hex.EncodeToString([]byte{byte(d.count >> 8), byte(d.count)})
	if err := unix.Mknodat(d.fd, name, unix.S_IFREG|0o600, 0); err != nil {
		return err
	}
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	l.addSecret(l.hold(fd), m)
	return l.showLink(c, d.path+"/"+name)
}

// findMemory makes the directory for secrets.
func (l *laid) findMemory() error {
	if l.memory != nil {
		return nil
	}
	for _, dir := range []string{"/dev/shm", "/run", "/tmp"} {
		at, err := in(l.root, dir)
		if err != nil {
			continue
		}
		l.hold(at)
		if !inMemory(at) {
			continue
		}
		name := ".trowel-" + rand.Text()
		if err := errors.Join(l.touch(at), unix.Mkdirat(at, name, 0o711)); err != nil {
			return err
		}
		l.cleanUps = append(l.cleanUps, func() error { return rootfs.RemoveAt(at, name) })
		fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		l.memory = &memoryDirectory{fd: l.hold(fd), path: dir + "/" + name}
		return chmod(fd, 0o711)
	}
	return &SetupError{
		Call: "show secret", Err: errors.New("the root file system is on a disk, and no file system in memory is seen inside"),
		Hint: "give it as a variable (--mount=type=secret,env=NAME), or choose another --isolation",
	}
}

// inMemory tells whether a file system has no disk.
func inMemory(fd int) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) != nil {
		return false
	}
	kind := uint32(fs.Type) //nolint:unconvert,gosec // differs by platform
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}

// writeSecrets writes what the secrets' files hold, once somebody is there to empty them.
func (l *laid) writeSecrets() error {
	if len(l.secrets) == 0 {
		return nil
	}
	fds := make([]int, len(l.secrets))
	for i, s := range l.secrets {
		fds[i] = s.fd
	}
	sweeper, err := startSweeper(fds)
	if err != nil {
		return failure("watch over secrets", "", err)
	}
	l.cleanUps = append([]func() error{sweeper.dismiss}, l.cleanUps...) // the last one
	for _, s := range l.secrets {
		if err := s.write(); err != nil {
			return failure("show secret", "", err)
		}
	}
	return nil
}

// sweeper is the process that empties files when its builder dies.
type sweeper struct {
	cmd  *exec.Cmd
	life *os.File
}

func startSweeper(fds []int) (_ *sweeper, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe") //nolint:noctx // it has to outlive everything
	cmd.Args = []string{argSweep}
	cmd.Env, cmd.Dir = []string{"GOMAXPROCS=1"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what ends the builder's group must not end it
	cmd.ExtraFiles = []*os.File{r}
	defer also(&err, func() error { return closeAll(cmd.ExtraFiles) })
	for _, fd := range fds {
		again, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(err, w.Close())
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(again), "secret"))
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &sweeper{cmd, w}, nil
}

// dismiss ends it after the files are gone.
func (s *sweeper) dismiss() error {
	_, err := s.life.Write([]byte{1})
	return errors.Join(err, s.life.Close(), s.cmd.Wait())
}

// sweepMain is that process: its first further descriptor is the pipe, the others are the files.
func sweepMain() {
	_ = Harden()
	life := os.NewFile(3, "life")
	if n, _ := life.Read(make([]byte, 1)); n == 0 {
		for fd := 4; empty(fd) == nil; fd++ {
			continue
		}
	}
	os.Exit(0)
}
