package executor

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// identities are the IDs that exist in this user namespace.
type identities struct {
	uids, gids []idRange
	initial    bool
	setgroups  bool
	recorder   recording
}

func readIdentities(u User) (identities, error) {
	ids := identities{initial: initialUserNamespace()}
	var err error
	if ids.uids, err = readIDMap("/proc/self/uid_map"); err != nil {
		return ids, err
	}
	if ids.gids, err = readIDMap("/proc/self/gid_map"); err != nil {
		return ids, err
	}
	text, err := os.ReadFile("/proc/self/setgroups")
	if err != nil {
		return ids, failure("read", "/proc/self/setgroups", err)
	}
	ids.setgroups = strings.TrimSpace(string(text)) == "allow"
	return ids, ids.check(u)
}

// check refuses a user who does not exist here, before anything is made.
func (ids identities) check(u User) error {
	const hint = "give the builder's user ranges in /etc/subuid and /etc/subgid and install newuidmap, or run as root"
	if !mapped(ids.uids, u.UID) {
		return &SetupError{Call: "become user", Subject: fmt.Sprint(u.UID), Err: errors.New("the user namespace has no such ID"), Hint: hint}
	}
	groups := []uint32{u.GID}
	if !ids.spared(u) {
		groups = append(groups, u.Groups...)
	}
	for _, gid := range groups {
		if !mapped(ids.gids, gid) {
			return &SetupError{Call: "become group", Subject: fmt.Sprint(gid), Err: errors.New("the user namespace has no such ID"), Hint: hint}
		}
	}
	return nil
}

// spared says whether a user does without its supplementary groups: where they cannot be set, for want of IDs, root needs
// none to reach whatever can be there.
func (ids identities) spared(u User) bool { return !ids.setgroups && u.UID == 0 }

// capabilities are those that Docker leaves to a container.
func capabilities() []uint {
	return []uint{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW, unix.CAP_SETGID,
		unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_CHROOT, unix.CAP_KILL,
		unix.CAP_AUDIT_WRITE,
	}
}

// confine turns this thread into the command's user in the command's directory, with nothing that it does not need. Order
// matters: each step needs what a later one gives away.
func confine(ids identities, p wireProcess, become func(identities, User) error) error {
	if err := ownOutput(p.User); err != nil {
		return err
	}
	if err := raise(p.Limits); err != nil {
		return err
	}
	entered := goTo(p.Dir)
	if err := become(ids, p.User); err != nil {
		return err
	}
	// A change of credentials forgets both.
	if err := Harden(); err != nil {
		return err
	}
	if err := dieWithParent(); err != nil {
		return err
	}
	unix.Umask(0o022)
	return enterDirectory(p.Dir, entered)
}

// becomeConfined becomes a user with what a container has.
func becomeConfined(ids identities, u User) error {
	if err := scope(); err != nil { // Landlock and seccomp need CAP_SYS_ADMIN here, or they would cost no_new_privs
		return err
	}
	if err := filterCalls(); err != nil {
		return err
	}
	if err := ids.recorder.handOver(); err != nil {
		return err
	}
	if err := boundCapabilities(capabilities()); err != nil {
		return err
	}
	if err := becomeUser(ids, u); err != nil {
		return err
	}
	return setCapabilities(u, capabilities())
}

// goTo changes to a directory, and makes one that is missing, as BuildKit does: the working directory of an image need not
// be in its layers.
func goTo(dir string) error {
	err := unix.Chdir(dir)
	if errors.Is(err, unix.ENOENT) && os.MkdirAll(dir, 0o755) == nil {
		err = unix.Chdir(dir)
	}
	return err
}

// ownOutput gives the pipes to the command's user: opening /dev/stdout opens them anew.
func ownOutput(u User) error {
	for fd := 1; fd <= 2; fd++ {
		if err := unix.Fchown(fd, int(u.UID), int(u.GID)); err != nil {
			return failure("give output to the user", "", err)
		}
	}
	return nil
}

// enterDirectory settles in the working directory, by the command's rights where root's did not suffice (a network file
// system), and makes sure that it lies inside the root (CVE-2024-21626).
func enterDirectory(dir string, entered error) error {
	if errors.Is(entered, unix.EACCES) || errors.Is(entered, unix.EPERM) {
		entered = unix.Chdir(dir)
	}
	if entered != nil {
		return failure("enter working directory", dir, entered)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return failure("enter working directory", dir, err)
	}
	if n == 0 || buf[0] != '/' {
		return failure("enter working directory", dir, errors.New("it lies outside the root file system"))
	}
	return nil
}

// boundCapabilities limits what any later program, a set-user-ID one too, can ever have.
func boundCapabilities(rights []uint) error {
	keep := uint64(0)
	for _, c := range rights {
		keep |= 1 << c
	}
	for c := uint(0); c < 64; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // past the last that this kernel knows
		}
		if err != nil {
			return failure("drop capability from the bounding set", fmt.Sprint(c), err)
		}
	}
	return nil
}

func becomeUser(ids identities, u User) error {
	if ids.recorder.socket != 0 {
		return nil // there is one user, and what else this process is was recorded
	}
	groups := make([]uint32, len(u.Groups))
	copy(groups, u.Groups)
	switch {
	case ids.setgroups:
		if err := setgroups(groups); err != nil {
			return failure("set supplementary groups", "", err)
		}
	case len(groups) > 0 && !ids.spared(u):
		return failure("set supplementary groups", "", errors.New("the user namespace has no right to"))
	}
	if err := rawSetres(unix.SYS_SETRESGID, u.GID); err != nil {
		return failure("become group", fmt.Sprint(u.GID), err)
	}
	if err := rawSetres(unix.SYS_SETRESUID, u.UID); err != nil {
		return failure("become user", fmt.Sprint(u.UID), err)
	}
	return nil
}

// setCapabilities gives root what execve would give it anyway and others nothing. Inheritable ones are none, or a file
// could turn them into permitted ones (CVE-2022-27651); ambient ones go with them.
func setCapabilities(u User, rights []uint) error {
	var data [2]unix.CapUserData
	if u.UID == 0 {
		for _, c := range rights {
			data[c/32].Permitted |= 1 << (c % 32)
			data[c/32].Effective |= 1 << (c % 32)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return failure("clear ambient capabilities", "", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return failure("set capabilities", "", err)
	}
	return nil
}
