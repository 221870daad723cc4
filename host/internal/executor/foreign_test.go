package executor

import (
	"bytes"
	"debug/elf"
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestPrograms holds that what is run to find out about an architecture is a program for it, and that it ends well: on this
// machine, and where an emulator is installed on that.
func TestPrograms(t *testing.T) {
	t.Parallel()
	emulators := map[string]string{
		"386": "i386", "amd64": "x86_64", "arm64": "aarch64", "loong64": "loongarch64", "mips64le": "mips64el",
	}
	for name, m := range machines {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "program")
			if err := writeExecutable(file, m.program()); err != nil {
				t.Fatal(err)
			}
			f, err := elf.NewFile(bytes.NewReader(m.program()))
			if err != nil {
				t.Fatal(err)
			}
			if f.Machine != elf.Machine(m.id) || f.Type != elf.ET_EXEC || len(f.Progs) != 1 {
				t.Errorf("got %v of type %v with %d segments", f.Machine, f.Type, len(f.Progs))
			}
			end := f.Progs[0].Vaddr + f.Progs[0].Filesz
			if code := uint64(4 * len(m.code)); f.Entry != end-code || f.Progs[0].Filesz != uint64(len(m.program())) {
				t.Errorf("it starts at %#x, and its code at %#x", f.Entry, end-code)
			}
			command := []string{file}
			if name != runtime.GOARCH {
				emulator := name
				if other, ok := emulators[name]; ok {
					emulator = other
				}
				path, err := exec.LookPath("qemu-" + emulator + "-static")
				if err != nil {
					return
				}
				command = []string{path, file}
			}
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				t.Errorf("run %q: %v: %s", command, err, out)
			}
		})
	}
}

func TestCanRunUnknown(t *testing.T) {
	t.Parallel()
	l := &Launcher{}
	if err := l.CanRun(t.Context(), RungNone, t.TempDir(), runtime.GOARCH); err != nil {
		t.Errorf("what is native cannot be run: %v", err)
	}
	err := l.CanRun(t.Context(), RungNone, t.TempDir(), "pdp11")
	if e, ok := errors.AsType[*ForeignError](err); !ok || e.Architecture != "pdp11" {
		t.Errorf("got error %v, want that pdp11 cannot be run", err)
	}
}
