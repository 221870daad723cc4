package executor

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// hintPrivilege is for whoever may not make namespaces.
const hintPrivilege = "needs root with CAP_SYS_ADMIN, or a user namespace"

// hintMount is for whoever has namespaces and may not mount in them, or has neither.
func hintMount(err error) string {
	switch {
	case !initialUserNamespace() && setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return "the machine takes every right from user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for this program"
	case errors.Is(err, unix.EACCES):
		return "a security module forbids mounts: --security-opt apparmor=unconfined"
	}
	return hintPrivilege
}

// hintUserNamespace is for whoever may not make a user namespace.
func hintUserNamespace(err error) string {
	switch {
	case setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return "the machine forbids user namespaces: sysctl kernel.unprivileged_userns_clone=1"
	case setting("/proc/sys/user/max_user_namespaces") == "0":
		return "the machine forbids user namespaces: sysctl user.max_user_namespaces=15000"
	case errors.Is(err, unix.EPERM):
		return "a container's seccomp profile forbids user namespaces: --security-opt seccomp=unconfined"
	}
	return ""
}

// setting reads one of the kernel's, "" where it has none.
func setting(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
