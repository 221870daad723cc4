//go:build amd64

package procview

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where a path leads.
type place struct {
	kind placeKind
	// path is relative to the real /proc, "" for itself; of an elsewhere absolute in the root.
	path string
	// magic is set if path ends with, or goes through, a link that only the kernel can follow.
	magic bool
	errno unix.Errno // of a nowhere
}

type placeKind string

const (
	untouched placeKind = ""          // has nothing to do with /proc: the kernel finds it by itself
	entry     placeKind = "entry"     // of /proc
	elsewhere placeKind = "elsewhere" // in the root, but the kernel by itself would not find it
	mounts    placeKind = "mounts"    // an entry about mounts: made up, because a chroot is no mount
	given     placeKind = "given"     // a [File]
	nowhere   placeKind = "nowhere"
)

// lookup follows paths for one caller.
type lookup struct {
	tgid, tid int
	follow    bool              // a link at the end
	links     map[string]string // symlinks in the root that lead to /proc
	member    func(pid int) bool
}

// maxLinks is the kernel's limit of links in one path.
const maxLinks = 40

// resolve follows path from base, an absolute directory. Only the links that are known are followed outside /proc, and ".."
// there takes the name before it away.
func (l lookup) resolve(base, path string) place {
	parts := strings.Split(path, "/")
	if !strings.HasPrefix(path, "/") {
		parts = append(strings.Split(base, "/"), parts...)
	}
	follow := l.follow || strings.HasSuffix(path, "/")
	touched := false
	var walked []string
	for links := 0; len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			walked = walked[:max(len(walked)-1, 0)]
			continue
		}
		walked = append(walked, part)
		if len(walked) == 1 && part == "proc" {
			found, rest, left := l.inProc(parts, follow)
			if !left {
				return found
			}
			if links++; links > maxLinks {
				return place{kind: nowhere, errno: unix.ELOOP}
			}
			walked, parts, touched = nil, rest, true
			continue
		}
		target, known := l.links["/"+strings.Join(walked, "/")]
		if !known || !follow && last(parts) {
			continue
		}
		if links++; links > maxLinks {
			return place{kind: nowhere, errno: unix.ELOOP}
		}
		parts = append(strings.Split(target, "/"), parts...)
		walked = walked[:len(walked)-1]
		if strings.HasPrefix(target, "/") {
			walked = nil
		}
	}
	if touched {
		return place{kind: elsewhere, path: "/" + strings.Join(walked, "/")}
	}
	return place{}
}

// last says whether no name is left.
func last(parts []string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return p != "" && p != "." })
}

// inProc follows what comes after /proc. left means that the rest leads out of it again, from the root.
func (l lookup) inProc(parts []string, follow bool) (_ place, rest []string, left bool) {
	var walked []string
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		end := last(parts)
		switch part {
		case "", ".":
			continue
		case "..":
			if len(walked) == 0 {
				return place{}, parts, true
			}
			walked = walked[:len(walked)-1]
			continue
		}
		if len(walked) == 0 {
			link := l.linkAtTop(part)
			switch {
			case link != nil && (follow || !end):
				parts = append(link, parts...)
				continue
			case link != nil:
			case hiddenEntry(part), isNumber(part) && !l.member(number(part)):
				return place{kind: nowhere, errno: unix.ENOENT}, nil, false
			}
			walked = append(walked, part)
			continue
		}
		walked = append(walked, part)
		inner := innermost(walked)
		switch {
		case len(inner) == 1 && part == "root" && (follow || !end):
			return place{}, parts, true // all of them have the same root
		case isMagic(inner):
			at := place{kind: entry, path: strings.Join(walked, "/")}
			if follow || !end {
				at.magic = true
				at.path = strings.Join(append(walked, parts...), "/")
			}
			return at, nil, false
		case len(inner) == 1 && strings.HasPrefix(part, "mount"):
			return mountsEntry(walked, end), nil, false
		}
	}
	return place{kind: entry, path: strings.Join(walked, "/")}, nil, false
}

func mountsEntry(walked []string, end bool) place {
	if !end {
		return place{kind: nowhere, errno: unix.ENOTDIR}
	}
	switch walked[len(walked)-1] {
	case "mounts", "mountinfo", "mountstats":
		return place{kind: mounts, path: strings.Join(walked, "/")}
	}
	return place{kind: nowhere, errno: unix.ENOENT}
}

// linkAtTop gives the target of a link directly in /proc.
func (l lookup) linkAtTop(name string) []string {
	pid := strconv.Itoa(l.tgid)
	switch name {
	case "self":
		return []string{pid}
	case "thread-self":
		return []string{pid, "task", strconv.Itoa(l.tid)}
	case "mounts", "net":
		return []string{pid, name}
	}
	return nil
}

// textOfLink is what readlink says of a link directly in /proc.
func (l lookup) textOfLink(name string) string {
	switch name {
	case "mounts", "net":
		return "self/" + name
	}
	return strings.Join(l.linkAtTop(name), "/")
}

// innermost is the part of a path that is below a process's or a thread's directory, nil elsewhere.
func innermost(walked []string) []string {
	switch {
	case !isNumber(walked[0]):
		return nil
	case len(walked) > 3 && walked[1] == "task":
		return walked[3:]
	}
	return walked[1:]
}

// isMagic says whether a path below a process's directory is a link that leads to an object instead of a path.
func isMagic(inner []string) bool {
	switch len(inner) {
	case 1:
		return slices.Contains([]string{"exe", "cwd", "root"}, inner[0])
	case 2:
		return slices.Contains([]string{"fd", "ns", "map_files"}, inner[0])
	}
	return false
}

// hiddenEntry says of entries directly in /proc whether a container has no business with them, whoever reads them.
func hiddenEntry(name string) bool {
	return slices.Contains([]string{
		"acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats",
		"kmsg", "kpagecount", "kpageflags", "kpagecgroup", "sysrq-trigger", "vmallocinfo", "slabinfo", mirrorName,
	}, name)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// number is 0, which is no process, for what is too large.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
