package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopped is a process that stops its supervisor, whatever the builder does to let it go on, and is cancelled.
func (h here) stopped() {
	ctx, cancel := context.WithCancelCause(h.ctx)
	h.ctx = ctx
	cause := errors.New("enough")
	_, err := h.run(func(p *Process) {
		p.Stdout = writerFunc(func(b []byte) (int, error) { cancel(cause); return len(b), nil })
	}, "halt")
	if !errors.Is(err, cause) {
		fmt.Println("cancel:", err)
	}
}

// killedLate is a builder that is killed when its process has ended, and what it knows of files with credentials with it.
func (h here) killedLate() {
	h.must(os.WriteFile("/root/token", []byte("hush"), 0o640))
	h.before["/root/token"] = true
	cmd := h.holding()
	h.must(cmd.Process.Signal(unix.SIGSTOP)) // so that it does nothing of what is next
	for !isStopped(cmd.Process.Pid) {
		time.Sleep(time.Millisecond)
	}
	watcher := childOf(cmd.Process.Pid)
	h.must(unix.Kill(childOf(watcher), unix.SIGKILL))
	for { // until the supervisor has ended
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", watcher))
		h.must(err)
		if err != nil || strings.Contains(string(text), ") Z ") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	h.must(cmd.Process.Kill())
	_ = cmd.Wait()
	if _, err := os.Lstat("/root/token"); err == nil {
		fmt.Println("the file is there already")
	}
	h.must(Recover(context.Background()))
	text, err := os.ReadFile("/root/token")
	info, statErr := os.Stat("/root/token")
	if string(text) != "hush" || err != nil || statErr != nil || info.Mode() != 0o640 {
		fmt.Printf("the file afterwards: %q, %v, %v\n", text, err, info)
	}
	if _, err := os.Lstat(HiddenDir + "/" + veilName); err == nil {
		fmt.Println("the copy is still there")
	}
}

// isStopped says whether every thread of a process has stopped: the signal is there before that.
func isStopped(id int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", id))
	for _, name := range threads {
		text, readErr := os.ReadFile(name)
		if err = errors.Join(err, readErr); !strings.Contains(string(text), ") T ") {
			return false
		}
	}
	return err == nil && len(threads) > 0
}

// childOf is a process's only child.
func childOf(id int) int {
	child := 0
	_ = eachProcess(func(p process) error {
		if p.parent == id {
			child = p.id
		}
		return nil
	})
	return child
}

// holding is another builder at work, whose process runs and holds on.
func (h here) holding() *exec.Cmd {
	cmd := exec.Command("/kaniko/executor")
	cmd.Env = append(os.Environ(), envHere+"=hold")
	out, err := cmd.StdoutPipe()
	h.must(err)
	h.must(cmd.Start())
	line := make([]byte, 5)
	if n, err := out.Read(line); string(line[:n]) != "held\n" {
		fmt.Printf("hold: %q, %v\n", line[:n], err)
	}
	return cmd
}
