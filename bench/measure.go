package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a run used.
type usage struct {
	PeakRSS int64 `json:"peakRSS"` // bytes, of the largest of its processes
}

// measureVerb makes this program run a command and report what it used.
//
// Linux counts the memory of the process that forks into the child's maximum (a child by vfork starts in its
// parent's memory), so the command is run from a fresh process of this program, which is small.
const measureVerb = "measure"

// measure runs a command with its output going to log.
func measure(ctx context.Context, log io.Writer, command ...string) (used usage, err error) {
	self, err := os.Executable()
	if err != nil {
		return used, fmt.Errorf("find this program: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return used, fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { err = errors.Join(err, read.Close()) }()
	cmd := exec.CommandContext(ctx, self, append([]string{measureVerb}, command...)...)
	// One signal ends the command and what it started, which cleans up after itself.
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.ExtraFiles = []*os.File{write}
	var text strings.Builder
	cmd.Stdout = io.MultiWriter(&text, log)
	cmd.Stderr = cmd.Stdout
	err = errors.Join(cmd.Run(), write.Close())
	if err != nil {
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		return used, fmt.Errorf("run %q: %w\n%s", strings.Join(command, " "), err, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	if err := json.NewDecoder(read).Decode(&used); err != nil {
		return used, fmt.Errorf("read what %q used: %w", filepath.Base(command[0]), err)
	}
	return used, nil
}

// measureChild is the fresh process: it runs the command and writes its usage to descriptor 3.
func measureChild(command []string, stderr io.Writer) int {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: error: %v\n", err)
		return 1
	}
	rusage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		panic("bench: os/exec reports no rusage on Linux")
	}
	used := usage{PeakRSS: rusage.Maxrss * 1024}
	report := os.NewFile(3, "usage")
	if err := errors.Join(json.NewEncoder(report).Encode(used), report.Close()); err != nil {
		fmt.Fprintf(stderr, "bench: error: %v\n", err)
		return 1
	}
	return 0
}
