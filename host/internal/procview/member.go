//go:build amd64

package procview

import (
	"bytes"
	"strconv"

	"golang.org/x/sys/unix"
)

// member says whether a process is the step's: a descendant of ours, who inherit every orphan among them.
func (w *worker) member(pid int) bool {
	for range maxDepth {
		parent, ok := w.parentOf(pid)
		if !ok || parent == 0 {
			return false
		}
		if parent == w.self {
			return true
		}
		// The parent's number means the same process only if the child still has it after the parent was looked at.
		_, ok = w.parentOf(parent)
		if again, _ := w.parentOf(pid); !ok || again != parent {
			continue
		}
		pid = parent
	}
	return false
}

// maxDepth is of trees of processes: deeper ones look like strangers.
const maxDepth = 256

// members are all processes of the step, from one look at every process.
func (w *worker) members(pids []int) map[int]bool {
	parents := map[int]int{}
	for _, pid := range pids {
		if parent, ok := w.parentOf(pid); ok {
			parents[pid] = parent
		}
	}
	found := map[int]bool{}
	for _, pid := range pids {
		at := pid
		for range maxDepth {
			parent, ok := parents[at]
			if ok && parent == w.self {
				found[pid] = true
			}
			if !ok || found[pid] {
				break
			}
			at = parent
		}
	}
	return found
}

// parentOf reads the second field after the command's name, which may hold anything but ends at the last parenthesis.
func (w *worker) parentOf(pid int) (int, bool) {
	text, err := w.readProc(pid, "stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}

// linkOf reads a link of a process in the real /proc. Links to files are as seen from the step's root, which is our own.
func (w *worker) linkOf(path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(w.proc, path, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
