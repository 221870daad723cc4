package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin/runner"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk/process/wire"
)

// drain is how long what a dead plugin wrote may take to be read: a process that left its group may hold the pipe open.
const drain = 200 * time.Millisecond

// group is a plugin's process with its children. It is go-plugin's runner.
type group struct {
	name    string
	program *program
	env     []string // what was granted
	memory  memoryLimit
	dir     string // of the socket

	stderr *lines
	stdout *greeting

	cmd      *exec.Cmd
	pipes    [2]*os.File // what it writes to standard output and error
	lifeline *os.File    // at its end when this process is gone

	exited chan struct{} // closed when it was waited for
	status string        // then

	mu     sync.Mutex
	live   bool // started, and not waited for: its number is not another's
	doomed bool // to be killed, as soon as it is there
}

// prepare sets up what go-plugin wants to start.
func (g *group) prepare(protocol []string) {
	g.cmd = &exec.Cmd{
		Path: g.program.path(),
		Args: []string{"trowel-plugin-" + g.name},
		Dir:  "/",
		Env:  append(append([]string{}, g.env...), protocol...),
		SysProcAttr: &syscall.SysProcAttr{
			// A group, not a session: one that is stopped when the host dies is then hung up and continued by the kernel.
			Setpgid:   true,
			Pdeathsig: syscall.SIGKILL,
		},
	}
	const firstExtraFile = 3
	g.cmd.Env = append(g.cmd.Env, wire.Lifeline+"="+strconv.Itoa(firstExtraFile))
	g.cmd.Env = append(g.cmd.Env, g.memory.environment()...)
}

// Start starts the process.
func (g *group) Start(context.Context) (err error) {
	var files [3]*os.File // the child's ends
	defer func() {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
		if err != nil {
			g.closePipes()
		}
	}()
	for i := range g.pipes {
		if g.pipes[i], files[i], err = os.Pipe(); err != nil {
			return err
		}
	}
	if files[2], g.lifeline, err = os.Pipe(); err != nil {
		return err
	}
	g.stdout = newGreeting(g.pipes[0], g.stderr)
	g.cmd.Stdout, g.cmd.Stderr, g.cmd.ExtraFiles = files[0], files[1], files[2:]
	if err := closeOnExec(); err != nil {
		return err
	}
	started := make(chan error, 1)
	go g.run(started)
	if err := <-started; err != nil {
		return fmt.Errorf("start the program: %w", err)
	}
	return nil
}

// run starts the process and waits for it, on a thread of its own. The kernel kills the process when that thread ends
// (golang/go#27505), so it stays; and the thread gives up for ever to gain privileges, so it is used for nothing else: the
// runtime ends it with the goroutine.
func (g *group) run(started chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() { // the first thread cannot end: have another
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.run(started)
		}()
		<-done
		runtime.UnlockOSThread()
		return
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		started <- fmt.Errorf("give up privileges: %w", err)
		return
	}
	if err := g.cmd.Start(); err != nil {
		started <- err
		return
	}
	pid := g.cmd.Process.Pid
	g.setLive(true)
	g.limit(pid)
	started <- nil
	if g.memory.bytes > 0 {
		go g.memory.watch(pid, g.exited, g.kill)
	}

	waitExit(pid)
	// The group's number is still taken, by a process that is dead: nobody else is hit.
	_ = unix.Kill(-pid, unix.SIGKILL)
	g.setLive(false)
	_ = g.cmd.Wait() // the state says it all
	g.status = describe(g.cmd.ProcessState)
	for _, p := range g.pipes {
		_ = p.SetReadDeadline(time.Now().Add(drain))
	}
	close(g.exited)
}

func (g *group) setLive(live bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.live = live; live && g.doomed {
		_ = unix.Kill(-g.cmd.Process.Pid, unix.SIGKILL) // it may have ended just now
	}
}

// limit sets what a process cannot be started with. It has hardly run yet, and has been told nothing.
func (g *group) limit(pid int) {
	// Each may be refused where a container has its own ideas; then those hold.
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	_ = os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"), []byte("500"), 0)
}

// waitExit waits until a child has ended, and leaves it to be waited for.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return // an error can only mean that there is nothing to wait for
		}
	}
}

// signal sends a signal to the group, if there still is one.
func (g *group) signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.live {
		_ = unix.Kill(-g.cmd.Process.Pid, s) // it may have ended just now
	}
}

// kill kills the process and its children, or prevents its start.
func (g *group) kill() {
	g.mu.Lock()
	g.doomed = true
	g.mu.Unlock()
	g.signal(unix.SIGKILL)
}

// wasStarted says whether there is or was a process.
func (g *group) wasStarted() bool { return g.cmd != nil && g.cmd.Process != nil }

// suspended waits until the process has stopped, as it does soon after the signal.
func (g *group) suspended(ctx context.Context) error {
	stat := fmt.Sprintf("/proc/%d/stat", g.cmd.Process.Pid)
	for {
		text, err := os.ReadFile(stat)
		if err != nil {
			return nil //nolint:nilerr // it has ended, which is as good
		}
		// pid (name) state …; the name may contain anything
		after := text[strings.LastIndexByte(string(text), ')')+1:]
		if len(after) > 1 && strings.IndexByte("TtZX", after[1]) >= 0 {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (g *group) closePipes() {
	for _, f := range []*os.File{g.pipes[0], g.pipes[1], g.lifeline} {
		if f != nil {
			f.Close()
		}
	}
}

// describe says how a process ended.
func describe(state *os.ProcessState) string {
	if state == nil {
		return "lost"
	}
	return state.String() // "exit status 2", "signal: killed"
}

// closeOnExec marks the descriptors that this process inherited without the mark. All that Go opens has it.
func closeOnExec() error {
	err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	entries, dirErr := os.ReadDir("/proc/self/fd") // a kernel before 5.11, or a filter
	if dirErr != nil {
		return errors.Join(fmt.Errorf("keep descriptors from the plugin: %w", err), dirErr)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// The rest of what go-plugin wants of a runner.

// Wait implements runner.Runner.
func (g *group) Wait(context.Context) error {
	<-g.exited
	return nil
}

// Kill implements runner.Runner.
func (g *group) Kill(context.Context) error {
	g.kill()
	return nil
}

// Stdout implements runner.Runner.
func (g *group) Stdout() io.ReadCloser { return g.stdout }

// Stderr implements runner.Runner.
func (g *group) Stderr() io.ReadCloser { return g.pipes[1] }

// Name implements runner.Runner.
func (g *group) Name() string { return g.name }

// ID implements runner.Runner.
func (g *group) ID() string { return g.name }

// Diagnose implements runner.Runner. The instance says it better.
func (g *group) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner: it keeps a plugin from leading the host to another address.
func (g *group) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != g.dir {
		return "", "", fmt.Errorf("the plugin serves at %q, and not on a socket in its directory", cut(network+" "+address, 120))
	}
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (g *group) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

var _ runner.Runner = (*group)(nil)
