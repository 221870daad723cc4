package executor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mountPoint is a line of /proc/self/mountinfo.
type mountPoint struct {
	Path string // where it is seen
	Root string // what of its file system is seen there
	Kind string // of file system
}

// mountPoints are all that this thread sees, in the order in which they were mounted.
func mountPoints() ([]mountPoint, error) {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, failure("read mounts", "", err)
	}
	return parseMountInfo(string(text))
}

// parseMountInfo reads the format of proc_pid_mountinfo(5).
func parseMountInfo(text string) ([]mountPoint, error) {
	var mounts []mountPoint
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		fields, more := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(more) < 1 {
			return nil, failure("read mounts", "", fmt.Errorf("malformed line %q", line))
		}
		mounts = append(mounts, mountPoint{Path: unescapeMount(fields[4]), Root: unescapeMount(fields[3]), Kind: more[0]})
	}
	return mounts, nil
}

// unescapeMount takes back the kernel's octal escapes of blanks and backslashes.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
