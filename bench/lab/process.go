package lab

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

// output runs cmd and returns what it wrote to standard output; an error has the end of what it wrote to either.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder // not one: two pipes tell nothing of the order between them
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %q: %w\n%s", strings.Join(cmd.Args, " "), err, lastLines(stdout.String()+stderr.String(), 30))
	}
	return stdout.String(), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// daemon is a process that serves until it is stopped.
type daemon struct {
	name string
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when it ended
}

// startTimeout is how long a daemon may take until it serves.
const startTimeout = 60 * time.Second

// start runs a daemon until the lab is closed, and returns when ready does without error. What it writes goes to a
// log file of its name.
func (l *Lab) start(ctx context.Context, name string, ready func(context.Context) error, cmd *exec.Cmd) error {
	log, err := os.Create(filepath.Join(l.dir, "logs", name+".log"))
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	// Its own group, so that a Ctrl-C reaches it through Close alone; and it does not outlive us.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	d := &daemon{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how a daemon ended is told by its log
		close(d.done)
	}()
	l.daemons = append(l.daemons, d)
	return d.await(ctx, ready)
}

func (d *daemon) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-d.done:
			err = errors.New("it ended")
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
			continue
		}
		text, readErr := os.ReadFile(d.log.Name())
		return errors.Join(fmt.Errorf("start %s: %w; the end of its log %q:\n%s", d.name, err, d.log.Name(), lastLines(string(text), 20)), readErr)
	}
}

// stop ends the daemon, first by asking.
func (d *daemon) stop() error {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		select {
		case <-d.done:
			return d.log.Close()
		default:
		}
		target := d.cmd.Process.Pid
		if signal == unix.SIGKILL {
			target = -target // with what it started
		}
		if err := unix.Kill(target, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return errors.Join(fmt.Errorf("stop %s: %w", d.name, err), d.log.Close())
		}
		select {
		case <-d.done:
		case <-time.After(15 * time.Second):
		}
	}
	return d.log.Close()
}
