package process_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

func TestHello(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	for range 2 {
		got, err := p.Hello(t.Context())
		must(t, err)
		if want := `{"ok":{"name":"raw","hello":"hello"}}`; string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	for _, size := range []int{0, 1, 1 << 20, abi.MaxRequest} {
		request := bytes.Repeat([]byte{'x'}, size)
		got, err := p.Call(t.Context(), opEcho, request, nil)
		must(t, err)
		if !bytes.Equal(got, request) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
	}
}

func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	var g errgroup.Group
	for i := range 200 {
		g.Go(func() error {
			op := opEcho
			if i%2 == 0 {
				op = opHost
			}
			want := fmt.Sprint(i)
			got, err := p.Call(t.Context(), op, []byte(want), nil)
			if op == opHost {
				want = "3 " + want
			}
			if err == nil && string(got) != want {
				err = fmt.Errorf("got %q, want %q", got, want)
			}
			return err
		})
	}
	must(t, g.Wait())
}

// A plugin that is a process answers several calls at once, but not more than it was given.
func TestInstances(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now, most := 0, 0
	p := open(t, "raw", func(o *process.Options) {
		o.Limits.Instances = 3
		o.Services = &services{answer: func(context.Context, abi.HostOp, []byte) []byte {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(20 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}}
	})
	var g errgroup.Group
	for range 12 {
		g.Go(func() error {
			_, err := p.Call(t.Context(), opHost, nil, nil)
			return err
		})
	}
	must(t, g.Wait())
	if most != 3 {
		t.Errorf("%d calls were in progress at once, want 3", most)
	}
}

// What the host does for a plugin has the context of the call, and ends with it.
func TestHostCallCancelled(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	p := open(t, "raw", func(o *process.Options) {
		o.Limits.Timeout = 100 * time.Millisecond
		o.Services = &services{answer: func(ctx context.Context, _ abi.HostOp, _ []byte) []byte {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil
		}}
	})
	_, err := call(t, p, opHost, "x")
	wantError(t, err, sdk.CodeTimeout, "100ms")
	wantError(t, <-ended, sdk.CodeTimeout)
	if got := mustCall(t, p, opEcho, "again"); got != "again" {
		t.Errorf("got %q", got)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	s := &services{}
	p := open(t, "raw", func(o *process.Options) { o.Services = s })
	mustCall(t, p, opLog, "careful")
	s.logged(t, "warning careful", 1)
	mustCall(t, p, opPrint, "a line")
	s.logged(t, "debug a line", 3) // by fmt and by a system call to standard output, and to standard error
	if got := mustCall(t, p, opEcho, "still there"); got != "still there" {
		t.Errorf("got %q", got)
	}
}

func TestLogFlood(t *testing.T) {
	t.Parallel()
	s := &services{}
	p := open(t, "raw", func(o *process.Options) { o.Services, o.Limits.Timeout = s, 200*time.Millisecond })
	_, err := call(t, p, opFlood, "")
	wantError(t, err, sdk.CodeTimeout)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs {
		if len(l) > len("debug ")+abi.MaxLog {
			t.Fatalf("a message has %d bytes", len(l))
		}
	}
	if len(s.logs) < 10 {
		t.Errorf("only %d messages came", len(s.logs))
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	other := make(chan error)
	go func() {
		_, err := p.Call(t.Context(), opWait, nil, nil)
		other <- err
	}()
	mustCall(t, p, opEcho, "x")
	_, err := call(t, p, opExit, "7")
	wantError(t, err, sdk.CodeCrashed, "exit status 7", "the disk is on fire")
	wantError(t, <-other, sdk.CodeCrashed, "exit status 7")
	if got := mustCall(t, p, opEcho, "again"); got != "again" {
		t.Errorf("got %q", got)
	}
}

// A plugin that crashes whenever it is used is not started for ever.
func TestCrashAgainAndAgain(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	for range 5 {
		_, err := call(t, p, opExit, "7")
		wantError(t, err, sdk.CodeCrashed, "the disk is on fire")
	}
	_, err := call(t, p, opEcho, "")
	wantError(t, err, sdk.CodeCrashed, "not started again", "exit status 7")
}

// A plugin that ends between calls is started again without anybody noticing.
func TestEndBetweenCalls(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	pid := look(t, p).PID
	process, err := os.FindProcess(pid)
	must(t, err)
	must(t, process.Kill())
	eventually(t, func() error { return gone(pid) })
	time.Sleep(20 * time.Millisecond) // for the connection to break
	if again := look(t, p).PID; again == pid {
		t.Errorf("it is still process %d", pid)
	}
}

// A call that its plugin can end is ended, and the plugin lives.
func TestTimeout(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", within(100*time.Millisecond))
	pid := look(t, p).PID
	begin := time.Now()
	_, err := call(t, p, opWait, "")
	wantError(t, err, sdk.CodeTimeout, "100ms")
	if took := time.Since(begin); took > 900*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if again := look(t, p).PID; again != pid {
		t.Errorf("the plugin was started again")
	}
}

// A call that its plugin cannot end is ended with the plugin.
func TestEndlessLoop(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", within(100*time.Millisecond))
	pid := look(t, p).PID
	_, err := call(t, p, opLoop, "")
	wantError(t, err, sdk.CodeTimeout, "100ms")
	if err := gone(pid); err != nil {
		t.Error(err)
	}
	if got := mustCall(t, p, opEcho, "again"); got != "again" {
		t.Errorf("got %q", got)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	mustCall(t, p, opEcho, "")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := p.Call(ctx, opWait, nil, nil)
	wantError(t, err, sdk.CodeCancelled)
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	_, err := p.Call(t.Context(), opEcho, make([]byte, abi.MaxRequest+1), nil)
	wantError(t, err, sdk.CodeLimit)
	_, err = abi.Result([]byte(mustCall(t, p, opLarge, fmt.Sprint(abi.MaxResponse+1))))
	wantError(t, err, sdk.CodeLimit)
	_, err = abi.Result([]byte(mustCall(t, p, opHost, strings.Repeat("x", abi.MaxRequest))))
	wantError(t, err, sdk.CodeLimit) // the answer, which is longer by two bytes
}

// The limit is one of memory in use, and ends the plugin, not the build.
func TestMemory(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", func(o *process.Options) { o.Limits.Memory = 64 << 20 })
	if got := mustCall(t, p, opMemory, fmt.Sprint(48<<20)); got != "got it" {
		t.Errorf("got %q", got)
	}
	_, err := call(t, p, opMemory, fmt.Sprint(1<<30))
	wantError(t, err, sdk.CodeLimit, "64 MiB", "limits.memory")
}

// Close ends calls in progress, and leaves no process, descriptor, goroutine or file.
func TestClose(t *testing.T) { // not parallel: it counts
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	once := func() (pid int) {
		p := open(t, "raw", func(o *process.Options) { o.Dir = dir })
		pid = look(t, p).PID
		waiting := make(chan error)
		go func() {
			_, err := p.Call(t.Context(), opWait, nil, nil)
			waiting <- err
		}()
		for range 3 {
			mustCall(t, p, opEcho, "")
		}
		must(t, p.Close(t.Context()))
		wantError(t, <-waiting, sdk.CodeCancelled, "closed")
		_, err := call(t, p, opEcho, "")
		wantError(t, err, sdk.CodeCancelled, "closed")
		return pid
	}
	once() // whatever the runtime keeps, it has now
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	for range 3 {
		if err := gone(once()); err != nil {
			t.Error(err)
		}
	}
	eventually(t, func() error {
		if now := runtime.NumGoroutine(); now > goroutines {
			stacks := make([]byte, 1<<20)
			return fmt.Errorf("%d goroutines have become %d:\n%s", goroutines, now, stacks[:runtime.Stack(stacks, true)])
		}
		if now := descriptors(t); now > files {
			return fmt.Errorf("%d descriptors have become %d", files, now)
		}
		return nil
	})
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A plugin that was opened and not used was never started, nor read.
func TestLazy(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", func(o *process.Options) { o.File = filepath.Join(t.TempDir(), "nothing") })
	if _, err := call(t, p, opEcho, ""); err == nil || !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v", err)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	must(t, p.Pause(t.Context())) // nothing runs yet
	p.Resume()
	pid := look(t, p).PID
	inCall := make(chan error)
	go func() {
		_, err := p.Call(t.Context(), opHost, nil, nil)
		inCall <- err
	}()
	must(t, p.Pause(t.Context()))
	must(t, p.Pause(t.Context()))
	if s := state(t, pid); s != "T" {
		t.Errorf("the process is in the state %s, want T", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := p.Call(ctx, opEcho, nil, nil)
	wantError(t, err, sdk.CodeTimeout)
	p.Resume()
	if s := state(t, pid); s != "T" {
		t.Errorf("after one of two: the process is in the state %s, want T", s)
	}
	p.Resume()
	if got := mustCall(t, p, opEcho, "awake"); got != "awake" {
		t.Errorf("got %q", got)
	}
	if again := look(t, p).PID; again != pid {
		t.Error("the plugin was started again")
	}
	must(t, <-inCall)
	must(t, p.Pause(t.Context())) // and be closed
}

// Pause waits for the call in progress, and gives up with its context.
func TestPauseWaits(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	mustCall(t, p, opEcho, "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := p.Call(ctx, opWait, nil, nil)
		done <- err
	}()
	time.Sleep(20 * time.Millisecond)
	soon, cancelSoon := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelSoon()
	wantError(t, p.Pause(soon), sdk.CodeTimeout)
	cancel()
	wantError(t, <-done, sdk.CodeCancelled)
	if got := mustCall(t, p, opEcho, "x"); got != "x" {
		t.Errorf("got %q", got)
	}
}
