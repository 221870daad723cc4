package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/sdk"
)

// The children of a plugin end with it, in whatever way it ends.
func TestGrandchildren(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"quiet", "holding output"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := open(t, "raw", nil)
			pids := numbers(t, mustCall(t, p, opChild, how))
			_, err := call(t, p, opExit, "0")
			wantError(t, err, sdk.CodeCrashed, "exit status 0")
			eventually(t, func() error { return gone(pids[1]) })
			pids = numbers(t, mustCall(t, p, opChild, how))
			begin := time.Now()
			must(t, p.Close(t.Context()))
			if took := time.Since(begin); took > 500*time.Millisecond {
				t.Errorf("close took %v", took)
			}
			eventually(t, func() error { return errors.Join(gone(pids[0]), gone(pids[1])) })
		})
	}
}

// A child that left the group is not found, but keeps nobody waiting.
func TestEscapedChild(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", nil)
	pids := numbers(t, mustCall(t, p, opChild, "escaped"))
	defer func() { must(t, syscall.Kill(pids[1], syscall.SIGKILL)) }()
	begin := time.Now()
	must(t, p.Close(t.Context()))
	if took := time.Since(begin); took > time.Second {
		t.Errorf("close took %v", took)
	}
}

func numbers(t testing.TB, text string) (n [2]int) {
	t.Helper()
	_, err := fmt.Sscan(text, &n[0], &n[1])
	must(t, err)
	return n
}

// beHost starts a plugin with a child, tells their numbers, and waits to be killed.
func beHost(program string) int {
	text, err := os.ReadFile(program)
	if err != nil {
		return 1
	}
	p, err := process.Open(process.Options{Name: "raw", Program: text, Digest: sdk.Digest(os.Getenv(envHost + "_DIGEST")), Hello: []byte("1"), Services: &services{}})
	if err == nil {
		var pids []byte
		if pids, err = p.Call(context.Background(), opChild, []byte("holding output"), nil); err == nil {
			if os.Getenv(envHost+"_PAUSE") != "" {
				err = p.Pause(context.Background())
			}
			fmt.Printf("%s %v\n", pids, err)
			time.Sleep(time.Hour)
		}
	}
	fmt.Println(err)
	return 1
}

// A host that is killed takes its plugins and their children along, even those it had stopped.
func TestHostKilled(t *testing.T) {
	t.Parallel()
	program := filepath.Join(built, "raw")
	for _, pause := range []string{"", "yes"} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), envHost+"="+program, envHost+"_DIGEST="+string(digest(t, program)), envHost+"_PAUSE="+pause, "TMPDIR="+t.TempDir())
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		line := make([]byte, 100)
		n, err := out.Read(line)
		must(t, err)
		pids := numbers(t, string(line[:n]))
		if gone(pids[0]) == nil || gone(pids[1]) == nil || !strings.Contains(string(line[:n]), "<nil>") {
			t.Fatalf("they do not live: %s", line[:n])
		}
		if stopped := state(t, pids[0]) == "T"; stopped != (pause != "") {
			t.Errorf("stopped: %v", stopped)
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		eventually(t, func() error { return errors.Join(gone(pids[0]), gone(pids[1])) })
	}
}
