//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processes are those that live and have that argument zero.
func processes(name string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		if zero, _, _ := strings.Cut(string(text), "\x00"); zero == name {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// nothingLeft demands that of a build that has ended there is nothing left but its cache.
func (k *killing) nothingLeft(t *testing.T, r *trialRun) {
	t.Helper()
	// What is killed when trowel has gone needs a moment.
	for deadline := time.Now().Add(2 * time.Second); len(processes(r.process)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("the processes %v of the plugin are left", processes(r.process))
			for _, pid := range processes(r.process) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
			break
		}
	}
	for _, file := range []string{"/proc/self/mountinfo", "/proc/net/unix"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, r.dir+"/") {
				t.Errorf("left in %s: %s", file, line)
			}
		}
	}
	for _, dir := range []string{"tmp", "work"} {
		entries, err := os.ReadDir(filepath.Join(r.dir, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("left in the directory %s: %s", dir, e.Name())
		}
	}
}

// adoptOrphans makes the processes whose parents end those of the test, for as long as it runs.
func adoptOrphans(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}

// noOrphans demands that of the builds' processes, which have all ended, there are no descendants alive.
func noOrphans(t *testing.T) {
	t.Helper()
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(text)) {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%s/stat", field))
			command, _ := os.ReadFile(fmt.Sprintf("/proc/%s/cmdline", field))
			name := strings.ReplaceAll(strings.Trim(string(command), "\x00"), "\x00", " ")
			if strings.Contains(string(stat), ") Z ") || strings.Contains(name, "registry serve") {
				continue // a dead one is waited for by nobody but us
			}
			t.Errorf("the process %s is left: %s", field, name)
			if pid, err := strconv.Atoi(field); err == nil {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}
