package host

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// shm is where a file system in memory is on every Linux machine.
const shm = "/dev/shm"

const (
	// maxTreeMemory bounds what is taken unasked.
	maxTreeMemory = 2 << 30
	// minTreeMemory is what is worth the trouble.
	minTreeMemory = 64 << 20
)

// openTreeMemory makes a directory in memory for unpacked layers that processes only read, and says how many bytes may be
// put there: asked, or, where that is negative, a quarter of what is free to this process. There is none (and no error)
// where the machine has no such file system or no room.
func openTreeMemory(asked int64) (*workDir, int64) {
	if asked == 0 {
		return nil, 0
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(shm, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		return nil, 0
	}
	budget := min(freeMemory()/4, maxTreeMemory)
	if asked > 0 {
		budget = asked
	}
	budget = min(budget, int64(fs.Bavail)*fs.Bsize/2) //nolint:unconvert // differs by platform
	if budget < minTreeMemory && asked < 0 {
		return nil, 0
	}
	parent := filepath.Join(shm, fmt.Sprintf("trowel-%d", outsideID()))
	if err := makePrivate(parent); err != nil {
		return nil, 0
	}
	w, err := openWorkDir(parent)
	if err != nil {
		return nil, 0
	}
	return w, budget
}

// outsideID is the user of this process as the machine sees it: in user namespaces all are called 0.
func outsideID() int {
	id := os.Geteuid()
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return id
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, count int
		if n, err := fmt.Sscan(line, &inside, &outside, &count); n == 3 && err == nil && id >= inside && id-inside < count {
			return outside + id - inside
		}
	}
	return id
}

// freeMemory is how many bytes this process may still use: what the machine has, or what its control group leaves.
func freeMemory() int64 {
	free := memAvailable()
	for _, dir := range memoryGroups() {
		for _, names := range [][2]string{{"memory.max", "memory.current"}, {"memory.limit_in_bytes", "memory.usage_in_bytes"}} {
			limit, ok := readNumber(filepath.Join(dir, names[0]))
			used, ok2 := readNumber(filepath.Join(dir, names[1]))
			if ok && ok2 {
				free = min(free, max(limit-used, 0))
			}
		}
	}
	return free
}

func memAvailable() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 1 && fields[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// memoryGroups are the directories of this process's memory control group and of those above it, as far as they are seen
// here. In a container the group's own directory is mostly the root of the mount.
func memoryGroups() []string {
	dirs := []string{"/sys/fs/cgroup", "/sys/fs/cgroup/memory"}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return dirs
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		mount := ""
		switch fields[1] {
		case "":
			mount = "/sys/fs/cgroup"
		case "memory":
			mount = "/sys/fs/cgroup/memory"
		default:
			continue
		}
		for p := filepath.Clean("/" + fields[2]); p != "/"; p = filepath.Dir(p) {
			dirs = append(dirs, filepath.Join(mount, p))
		}
	}
	return dirs
}

// readNumber reads a file that holds a number; "max" is no limit.
func readNumber(file string) (int64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	s := strings.TrimSpace(string(text))
	if s == "max" {
		return math.MaxInt64, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
