package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// memoryInterval is how often a process's memory is looked at. What it can take in that time is what the limit is exceeded
// by at most.
const memoryInterval = 25 * time.Millisecond

// memoryLimit bounds the memory of one process, by looking.
//
// A limit of the address space (RLIMIT_AS) says nothing of a Go program. One of data (RLIMIT_DATA) lets one allocation of
// any size pass, since Go turns memory that it had reserved into such, and makes Go's collector crash instead of fail.
type memoryLimit struct {
	bytes    int64
	exceeded atomic.Bool
}

// environment tells Go's collector to work harder before the limit is reached.
func (m *memoryLimit) environment() []string {
	if m.bytes <= 0 {
		return nil
	}
	return []string{"GOMEMLIMIT=" + strconv.FormatInt(m.bytes/10*9, 10)}
}

// watch kills the process when it has more memory than it may, until it has ended.
func (m *memoryLimit) watch(pid int, exited <-chan struct{}, kill func()) {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	for {
		select {
		case <-exited:
			return
		case <-tick.C:
		}
		if used, err := ownMemory(pid); err == nil && used > m.bytes {
			m.exceeded.Store(true)
			kill()
			return
		}
	}
}

// problem is the error of what was in progress when the limit was exceeded.
func (m *memoryLimit) problem() *sdk.Error {
	if !m.exceeded.Load() {
		return nil
	}
	return &sdk.Error{Code: sdk.CodeLimit, Message: fmt.Sprintf(`the plugin used more memory than limits.memory = "%d MiB" allows: raise it`, m.bytes>>20)}
}

// ownMemory is the memory of a process that no file stands behind.
func ownMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text)
	if len(fields) < 3 {
		return 0, fmt.Errorf("/proc/%d/statm: %q", pid, text)
	}
	resident, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, err
	}
	shared, err := strconv.ParseInt(string(fields[2]), 10, 64)
	return (resident - shared) * int64(os.Getpagesize()), err
}
