package author

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// guestMemory is how much memory the kernel has given to the instances under test: the resident pages of the mappings that
// are as large as [testMemory], which nothing else is. The kernel may have joined some with each other and with small
// neighbours.
func guestMemory() (int64, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var total int64
	ours := false
	s := bufio.NewScanner(f)
	for s.Scan() {
		name, rest, _ := strings.Cut(s.Text(), ":")
		if name != "Size" && name != "Rss" {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/self/smaps: %w", err)
		}
		switch {
		case name == "Size":
			ours = (kib<<10)/testMemory > 0 && (kib<<10)%testMemory < 2<<20
		case ours:
			total += kib << 10
		}
	}
	return total, s.Err()
}
