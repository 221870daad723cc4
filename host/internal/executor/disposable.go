package executor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// DisposableMark is the file by which a container image says that its root directory may be overwritten. Trowel's own image
// has it. It must be an ordinary file of root's that nobody else may write, and no mount may lead to it: who mounts a volume
// there has not said anything about what lies around it.
const DisposableMark = "/kaniko/.trowel-disposable"

// Consent says who has allowed the root directory to be overwritten.
type Consent string

// Who may consent. The zero value is the image that the container was made from, by its mark.
const (
	ConsentImage Consent = ""
	// ConsentUser is a user who has named the rung. It is not enough where the root directory is a machine's.
	ConsentUser Consent = "user"
)

const hintDisposable = "if what lies in / may be overwritten, say so: touch " + DisposableMark

// Disposable tells whether [RungInPlace] may overwrite the root directory. The error, a *[SetupError], says why not.
func Disposable(consent Consent) error {
	const call = "run in place"
	root, err := openDirectory("/")
	if err != nil {
		return err
	}
	err = errors.Join(marked(root, DisposableMark), unix.Close(root))
	if err == nil {
		return nil
	}
	if consent != ConsentUser {
		hint := "in a container whose root may be overwritten: --isolation=inplace, or an image with the file " + DisposableMark
		return &SetupError{Call: call, Err: fmt.Errorf("nobody has said that the root directory may be overwritten: %w", err), Hint: hint}
	}
	where, err := surroundings()
	if err != nil {
		return err
	}
	if why := where.machine(); why != "" {
		return &SetupError{Call: call, Err: fmt.Errorf("the root directory is a machine's, not a container's: %s", why), Hint: hintDisposable}
	}
	return nil
}

// marked looks for the mark in a root directory.
func marked(root int, mark string) error {
	how := unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(root, mark, &how)
	if err != nil {
		return failure("open mark", mark, err)
	}
	var st unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Close(fd)); err != nil {
		return failure("stat mark", mark, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Mode&0o022 != 0 {
		return failure("open mark", mark, errors.New("want an ordinary file of root's that nobody else may write"))
	}
	return nil
}

// surrounding is what tells a machine from a container.
type surrounding struct {
	root       mountPoint // of the root directory
	initialPID bool       // the machine's own PID namespace
	init       string     // the name of process 1
}

func surroundings() (surrounding, error) {
	var s surrounding
	mounts, err := mountPoints()
	if err != nil {
		return s, err
	}
	for _, m := range mounts {
		if m.Path == "/" {
			s.root = m // the last one is on top
		}
	}
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return s, failure("look at the PID namespace", "", err)
	}
	s.initialPID = name == "pid:[4026531836]" // PROC_PID_INIT_INO
	comm, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		return s, failure("look at process 1", "", err)
	}
	s.init = strings.TrimSpace(string(comm))
	return s, nil
}

// machine says why the root directory is taken for a machine's, "" for a container's. A container has a PID namespace of its
// own, unless it was told to share the machine's; and its root is a union of layers, or a directory or subvolume within
// another file system. A machine that is a guest of another (WSL) may have the former, but not the latter.
func (s surrounding) machine() string {
	switch {
	case s.initialPID:
		return "this is the machine's own PID namespace"
	case isInit(s.init) && s.root.Kind != "" && s.root.Kind != "overlay" && path.Clean(s.root.Root) == "/":
		return fmt.Sprintf("it is a whole file system of kind %s, and process 1 is %s", s.root.Kind, s.init)
	}
	return ""
}

// isInit knows the names of what a machine starts first; a container's init for reaping has another.
func isInit(name string) bool {
	switch name {
	case "systemd", "init", "openrc-init", "runit", "s6-svscan", "launchd":
		return true
	}
	return false
}
