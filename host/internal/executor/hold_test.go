package executor

import (
	"bufio"
	"context"
	"encoding/gob"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// held is what a builder that is to be killed is told.
type held struct {
	Root Rootfs
	Lock string
}

// TestBuilderKilled kills a builder without warning: its step dies with it.
func TestBuilderKilled(t *testing.T) {
	t.Parallel()
	h := held{Root: newRootfs(t, 1), Lock: lockFile(t)}
	path := filepath.Join(t.TempDir(), "held")
	f, err := os.Create(path)
	must(t, err)
	must(t, gob.NewEncoder(f).Encode(h))
	must(t, f.Close())
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), envHold+"="+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Errorf("step says %q, %v", line, err)
	}
	if free(t, h.Lock) {
		t.Error("the step does not hold its lock")
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for start := time.Now(); !free(t, h.Lock); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatal("the step outlived its builder")
		}
	}
}

// holdStep is that builder.
func holdStep(path string) int {
	var h held
	f, err := os.Open(path)
	if err == nil {
		err = gob.NewDecoder(f).Decode(&h)
	}
	if err == nil {
		p := command("hold", "/etc/hosts")
		p.Mounts = []Mount{{Kind: MountBind, Source: h.Lock, Target: "/etc/hosts"}}
		p.Stdout = os.Stdout
		err = launcher.Run(context.Background(), h.Root, p)
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
