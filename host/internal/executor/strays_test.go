package executor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unwatched runs processes that kill their supervisor, when others of theirs have hold of the output, a lock, and are of a user.
func (h here) unwatched() {
	const killed = "watch over the process: the builder's process that watches over it was killed"
	h.must(os.WriteFile("/workspace/lock", nil, 0o644))
	h.must(os.WriteFile("/root/token", []byte("hush"), 0o600))
	h.plain.Veil = []string{"/root/token"}
	h.before["/workspace/lock"], h.before["/root/token"] = true, true
	other := exec.CommandContext(context.Background(), "/bin/inside", "stay", "other") // the builder's own
	h.must(other.Start())
	for _, id := range h.ids() {
		h.wantError(killed, nil, "all", "background", "/workspace/lock", fmt.Sprint(id), ";", "unwatch")
		h.free("/workspace/lock")
		h.sameAsBefore()
	}
	h.wantError(killed, nil, "all", "hop", ";", "unwatch")
	ctx, cancel := context.WithCancel(h.ctx)
	_, err := here{ctx, h.plain, h.before}.run(func(p *Process) {
		p.Stdout = writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil })
	}, "all", "background", "/workspace/lock", ";", "unwatch")
	if err == nil {
		fmt.Println("cancelled: no error")
	}
	h.free("/workspace/lock")
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	h.must(err)
	for _, path := range all {
		if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), "/bin/inside\x00") && !strings.Contains(string(text), "other") {
			fmt.Printf("still there: %q\n", text)
		}
	}
	if always := int32(0); unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&always)), 0, 0, 0) != nil || always != 0 {
		fmt.Println("the builder still inherits orphans")
	}
	h.must(other.Process.Kill())
	if err := other.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		fmt.Println("the builder's own process:", err)
	}
}
