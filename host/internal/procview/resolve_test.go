//go:build amd64

package procview

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	l := lookup{
		tgid: 70, tid: 71,
		links: map[string]string{
			"/dev/fd": "/proc/self/fd", "/dev/stdout": "/proc/self/fd/1", "/etc/mtab": "../proc/self/mounts", "/a": "/b", "/b": "/a",
		},
		member: func(pid int) bool { return pid == 70 || pid == 80 },
	}
	missing := func(errno unix.Errno) place { return place{kind: nowhere, errno: errno} }
	for _, tt := range []struct {
		base, path string
		noFollow   bool
		want       place
	}{
		{"/", "/usr/bin", false, place{}},
		{"/", "/process", false, place{}},
		{"/", "/usr/proc/self", false, place{}},
		{"/", "/proc", false, place{kind: entry}},
		{"/", "//proc/./cpuinfo", false, place{kind: entry, path: "cpuinfo"}},
		{"/", "/usr/../proc/cpuinfo", false, place{kind: entry, path: "cpuinfo"}},
		{"/", "/../proc/cpuinfo", false, place{kind: entry, path: "cpuinfo"}},
		{"/proc", "self/stat", false, place{kind: entry, path: "70/stat"}},
		{"/proc/80", "stat", false, place{kind: entry, path: "80/stat"}},
		{"/proc/80", "../80/fd", false, place{kind: entry, path: "80/fd"}},
		{"/proc/80", "../../etc/x", false, place{kind: elsewhere, path: "/etc/x"}},
		{"/", "/proc/self", true, place{kind: entry, path: "self"}},
		{"/", "/proc/self/", true, place{kind: entry, path: "70"}},
		{"/", "/proc/thread-self/comm", false, place{kind: entry, path: "70/task/71/comm"}},
		{"/", "/proc/self/exe", true, place{kind: entry, path: "70/exe"}},
		{"/", "/proc/self/exe", false, place{kind: entry, path: "70/exe", magic: true}},
		{"/", "/proc/self/fd/5", false, place{kind: entry, path: "70/fd/5", magic: true}},
		{"/", "/proc/self/fd/5/../x", false, place{kind: entry, path: "70/fd/5/../x", magic: true}},
		{"/", "/proc/self/cwd/../x", true, place{kind: entry, path: "70/cwd/../x", magic: true}},
		{"/", "/proc/self/task/71/fd/3", false, place{kind: entry, path: "70/task/71/fd/3", magic: true}},
		{"/", "/proc/self/root/etc/x", false, place{kind: elsewhere, path: "/etc/x"}},
		{"/", "/proc/self/root/../..", false, place{kind: elsewhere, path: "/"}},
		{"/", "/proc/self/root", true, place{kind: entry, path: "70/root"}},
		{"/", "/proc/self/root/proc/80/root/proc/80/stat", false, place{kind: entry, path: "80/stat"}},
		{"/", "/proc/self/mounts", false, place{kind: mounts, path: "70/mounts"}},
		{"/", "/proc/mounts", false, place{kind: mounts, path: "70/mounts"}},
		{"/", "/proc/mounts", true, place{kind: entry, path: "mounts"}},
		{"/", "/proc/self/mounts/x", false, missing(unix.ENOTDIR)},
		{"/", "/proc/net/tcp", false, place{kind: entry, path: "70/net/tcp"}},
		{"/", "/proc/1/environ", false, missing(unix.ENOENT)},
		{"/", "/proc/99999999999999999999/stat", false, missing(unix.ENOENT)},
		{"/", "/proc/self/../1/root", false, missing(unix.ENOENT)},
		{"/", "/proc/kcore", false, missing(unix.ENOENT)},
		{"/", "/proc/sys/kernel/ostype", false, place{kind: entry, path: "sys/kernel/ostype"}},
		{"/", "/dev/fd/5", false, place{kind: entry, path: "70/fd/5", magic: true}},
		{"/", "/dev/fd/5", true, place{kind: entry, path: "70/fd/5"}},
		{"/", "/dev/fd", true, place{}},
		{"/", "/dev/stdout", true, place{}},
		{"/", "/dev/stdout", false, place{kind: entry, path: "70/fd/1", magic: true}},
		{"/", "/etc/mtab", false, place{kind: mounts, path: "70/mounts"}},
		{"/", "/a", false, missing(unix.ELOOP)},
	} {
		l.follow = !tt.noFollow
		if got := l.resolve(tt.base, tt.path); got != tt.want {
			t.Errorf("%s from %s, follow %v: got %+v, want %+v", tt.path, tt.base, l.follow, got, tt.want)
		}
	}
}
