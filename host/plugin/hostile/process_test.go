package hostile_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/trowel-build/trowel/host/plugin"
	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/sdk"
)

func testEnviron(t *trial) {
	t.Parallel()
	module := spec("environ", sdk.KindCredential)
	for _, sp := range []plugin.Spec{module, trusted(module, "environ")} {
		s := load(t, sp)
		if got := s.answers(""); strings.Contains(got, canary) || strings.Contains(got, "PATH=") || strings.Contains(got, "HOME=") {
			t.Errorf("its environment is %q", got)
		}
		_, err := s.ask(canaryVariable)
		t.fails(err, sdk.CodeDenied, "plugins.hostile.allow.env")
		s.works()
	}
	t.happened = append(t.happened[:1], "a process inherits nothing, not even PATH; a module has no environment")
}

func testStdin(t *trial) {
	t.Parallel()
	s := load(t, spec("stdin", sdk.KindCredential))
	if got := s.answers("x"); got != "0 bytes " {
		t.Errorf("it read %s", got)
	}
	t.happens("it is empty")
	s.works()
}

func testNoise(t *trial) {
	t.Parallel()
	s := load(t, spec("noise", sdk.KindCredential))
	_, err := s.ask("x")
	t.fails(err, sdk.CodeCrashed, "printed to standard output before it served", "loading config…", "standard error")
	s.works()
}

func testCookie(t *trial) {
	t.Parallel()
	untrusted := spec("cookie", sdk.KindCredential)
	untrusted.Trust = ""
	err := newSite(t).load(untrusted)
	var hint interface {
		error
		Hint() string
	}
	if err == nil || !strings.Contains(err.Error(), `plugin "hostile"`) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), `trust = "native"`) {
		t.Errorf("without trust: %v", err)
	} else {
		t.happens("without trust it is not started: %v (hint: %s)", hint, hint.Hint())
	}
	s := load(t, spec("cookie", sdk.KindCredential))
	_, err = s.ask("x")
	t.fails(err, sdk.CodeUnsupported, "mutual TLS")
	s.works()
}

func testSwap(t *trial) {
	t.Parallel()
	genuine, err := os.ReadFile(program("swap", ""))
	must(t, err)
	other, err := os.ReadFile(program("stdin", ""))
	must(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "plugin")
	must(t, os.WriteFile(file, genuine, 0o755))
	var swaps, stop atomic.Int64
	swapped := make(chan error, 1)
	go func() { // by renaming: a reader has the one or the other, whole
		for n := 0; stop.Load() == 0; n++ {
			aside := filepath.Join(dir, "aside")
			if err := errors.Join(os.WriteFile(aside, [][]byte{other, genuine}[n%2], 0o755), os.Rename(aside, file)); err != nil {
				swapped <- err
				return
			}
			swaps.Add(1)
		}
		swapped <- nil
	}()
	ran, refused := 0, 0
	for n := 0; n < 60 && (n < 10 || ran == 0 || refused == 0); n++ {
		answer, err := askFile(t, file)
		switch {
		case err == nil && answer == "genuine":
			ran++
		case err != nil && sdk.AsError(err).Code == sdk.CodeDenied && strings.Contains(err.Error(), "has the digest"):
			refused++
		default:
			t.Errorf("%q, %v", answer, err)
		}
	}
	stop.Store(1)
	must(t, <-swapped)
	if ran == 0 || refused == 0 {
		t.Errorf("it ran %d times and was refused %d times, while it was swapped %d times", ran, refused, swaps.Load())
	}
	t.happens("the bytes that were checked run, from a sealed file in memory; others are `denied`: the program has the digest sha256:…, and not sha256:… as it should")
	load(t, spec("swap", sdk.KindCredential)).works()
}

// askFile starts a program by its path, and asks it, if it has the digest of the genuine one.
func askFile(t *trial, file string) (answer string, err error) {
	dir, err := os.MkdirTemp("", "s")
	must(t, err)
	p, err := process.Open(process.Options{
		Name: "hostile", File: file, Digest: digestOf(t, program("swap", "")), Hello: helloOf("hostile"), Services: nobody{}, Dir: dir,
	})
	must(t, err)
	defer func() {
		ctx, cancel := background()
		defer cancel()
		must(t, errors.Join(p.Close(ctx), os.RemoveAll(dir)))
	}()
	if _, err := p.Hello(t.Context()); err != nil {
		return "", err
	}
	return askConn(t.Context(), p)
}

func testGrandchild(t *trial) {
	t.Parallel()
	for _, way := range []string{"asked", "exit"} {
		s := load(t, spec("grandchild", sdk.KindCredential))
		var child, grandchild int
		_, err := fmt.Sscan(s.answers("start"), &child, &grandchild)
		must(t, err)
		if alive(child) == nil || alive(grandchild) == nil {
			t.Fatalf("%d and %d do not live", child, grandchild)
		}
		if way == "exit" {
			_, err = s.ask("exit")
			t.fails(err, sdk.CodeCrashed, "exit status 0")
		} else {
			ctx, cancel := background()
			defer cancel()
			must(t, s.set.Close(ctx))
		}
		eventually(t, func() error { return errors.Join(alive(child), alive(grandchild)) })
		if way == "exit" {
			s.works()
		}
	}
	t.happens("its whole group is killed, whichever way it ends")
}

// alive is an error if a process lives. One that nobody waits for is as good as dead.
func alive(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil && !strings.Contains(string(text), ") Z ") {
		return fmt.Errorf("process %d lives: %s", pid, text)
	}
	return nil
}

// beHost loads a plugin, has it start a child, tells their numbers, and waits to be killed.
func beHost() int {
	ctx, cancel := background()
	defer cancel()
	sockets, err := os.MkdirTemp("", "s")
	if err == nil {
		s := &site{sockets: sockets}
		var set *plugin.Set
		if set, err = plugin.Load(ctx, map[string]plugin.Spec{"hostile": spec("orphan", sdk.KindCredential)}, []string{"hostile"}, s.options()); err == nil {
			var pids string
			if pids, err = askProvider(ctx, set.Credentials[0], "start"); err == nil {
				fmt.Println(pids)
				<-ctx.Done()
			}
		}
	}
	fmt.Println(err)
	return 1
}

func testOrphan(t *trial) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), envHost+"="+shared.dir, "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line := make([]byte, 500)
	n, err := out.Read(line)
	must(t, err)
	var pid, child int
	if _, err := fmt.Sscan(string(line[:n]), &pid, &child); err != nil {
		t.Fatalf("%v: %s", err, line[:n])
	}
	if alive(pid) == nil || alive(child) == nil {
		t.Fatalf("%d and %d do not live", pid, child)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	eventually(t, func() error { return errors.Join(alive(pid), alive(child)) })
	t.happens("both end with the host")
	load(t, spec("orphan", sdk.KindCredential)).works()
}
