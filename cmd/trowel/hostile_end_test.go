package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHostileEnd ends builds at moments that nobody chose. A build that is asked to end leaves nothing behind. One that is
// killed leaves a directory at most, which the next removes, and no process in either case.
func TestHostileEnd(t *testing.T) {
	t.Parallel()
	needRun(t)
	for _, who := range []string{"root", "user"} {
		for name, signal := range map[string]syscall.Signal{"SIGINT": unix.SIGINT, "SIGTERM": unix.SIGTERM, "SIGKILL": unix.SIGKILL} {
			t.Run(name+"/"+who, func(t *testing.T) {
				t.Parallel()
				var options []siteOption
				if who == "user" {
					options = append(options, asUser)
				}
				s := newSite(t, options...)
				word := filepath.Base(s.dir)
				base := s.pushBase(t, "1", wicked(t))
				s.write("Dockerfile", "FROM "+base+" AS a\nCOPY many /many\nRUN echo "+word+" > /a && sleep 0.2\nFROM "+base+"\nCOPY --from=a /a /a\nRUN sleep 0.2 && echo "+word+" > /b\n")
				for i := range 200 {
					s.write(filepath.Join("many", strings.Repeat("x", i+1)), strings.Repeat("text\n", i))
				}
				s.own()
				for range 8 {
					s.endOne(signal, word)
				}
				if signal == unix.SIGKILL {
					// A process that is just being started holds the lock of its dead builder until its first look around.
					s.succeeded(s.start(s.buildArgs()...))
				}
				s.succeeded(s.build())
				s.noProcess(word)
			})
		}
	}
}

// endOne starts a build and sends it a signal at a moment that nobody chose.
func (s *site) endOne(signal syscall.Signal, word string) {
	s.t.Helper()
	cmd := s.command(s.t.Context(), "build", "--progress", "plain", "--no-cache", "-t", s.host()+"/app:1", "--push", s.context)
	var text bytes.Buffer
	cmd.Stderr = &text
	must(s.t, cmd.Start())
	after := time.Duration(rand.IntN(700)) * time.Millisecond
	time.Sleep(after)
	must(s.t, cmd.Process.Signal(signal))
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		// Before a word is said there may be nobody yet who listens to signals.
		if err != nil && signal != unix.SIGKILL && text.Len() > 0 && !strings.Contains(text.String(), "trowel: error: ") {
			s.t.Errorf("%v after %v: %v, and no error is told:\n%s", signal, after, err, &text)
		}
	case <-time.After(20 * time.Second):
		must(s.t, cmd.Process.Kill())
		s.t.Errorf("%v after %v: it goes on:\n%s", signal, after, &text)
	}
	s.noProcess(word)
	failed := s.t.Failed()
	if signal != unix.SIGKILL {
		s.unharmed()
	}
	if s.t.Failed() && !failed {
		s.t.Errorf("that was after %v and %v:\n%s", signal, after, &text)
	}
}

// noProcess makes sure that no process of the site is left, or will be in a moment.
func (s *site) noProcess(word string) {
	s.t.Helper()
	left := ""
	for range 100 {
		if left = processOf(word); left == "" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Errorf("a process is left: %s", left)
}

// processOf finds a process that has a word in its arguments or its directory.
func processOf(word string) string {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return ""
	}
	for _, name := range all {
		text, err := os.ReadFile(name)
		if err != nil || filepath.Dir(name) == "/proc/self" {
			continue
		}
		if strings.Contains(string(text), word) {
			return strings.ReplaceAll(string(text), "\x00", " ")
		}
	}
	return ""
}

// TestHostileContextChanges changes a file while it is copied: it is told, or what was there before is in the image.
func TestHostileContextChanges(t *testing.T) {
	t.Parallel()
	const size = 256 << 20
	for name, change := range map[string]func(file string) error{
		"rewritten":  func(f string) error { return writeAt(f, size-1, "x") },
		"grows":      func(f string) error { return os.Truncate(f, size+100<<20) },
		"shrinks":    func(f string) error { return os.Truncate(f, size/2) },
		"is emptied": func(f string) error { return os.Truncate(f, 0) },
		"vanishes":   os.Remove,
		"is a FIFO":  func(f string) error { return swap(f, func(n string) error { return unix.Mkfifo(n, 0o644) }) },
		"is a link out": func(f string) error {
			return swap(f, func(n string) error { return os.Symlink("../canary/file", n) })
		},
		"is a directory": func(f string) error { return swap(f, func(n string) error { return os.Mkdir(n, 0o755) }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.write("Dockerfile", "FROM scratch\nCOPY first /\nCOPY big* /\n")
			// The first file keeps the layers busy while the second is already indexed.
			s.write("first", "")
			must(t, os.Truncate(filepath.Join(s.context, "first"), size))
			s.write("big", "")
			big := filepath.Join(s.context, "big")
			must(t, os.Truncate(big, size))
			done := make(chan error, 1)
			go func() {
				time.Sleep(150 * time.Millisecond)
				done <- change(big)
			}()
			o := s.build("--no-cache", "--compression", "none")
			must(t, <-done)
			t.Logf("%v %d MiB, exit code %d: %s", o.took, o.memory>>20, o.code, complaint(o.stderr))
			if o.code != 0 {
				s.refused(o, `"big" changed while it was read|"big"`)
			}
		})
	}
}

// writeAt writes into a file.
func writeAt(name string, at int64, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		return err
	}
	return f.Close()
}

// swap puts something else in a file's place.
func swap(name string, create func(string) error) error {
	if err := create(name + ".new"); err != nil {
		return err
	}
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// TestHostileUnreadable copies a file that the user may not read.
func TestHostileUnreadable(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(string) error{
		"file":      func(dir string) error { return os.Chmod(filepath.Join(dir, "secret/file"), 0) },
		"directory": func(dir string) error { return os.Chmod(filepath.Join(dir, "secret"), 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, asUser)
			s.write("Dockerfile", "FROM scratch\nCOPY . /\n")
			s.write("secret/file", "text")
			s.own()
			must(t, spoil(s.context))
			o := s.build()
			t.Log(complaint(o.stderr))
			s.refused(o, `secret`, `permission denied`, `Dockerfile:2`)
			must(t, os.Chmod(filepath.Join(s.context, "secret"), 0o755))
		})
	}
}

// TestHostileDisk builds where there is no room.
func TestHostileDisk(t *testing.T) {
	t.Parallel()
	needRun(t)
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system: see TestHostileFileSize for what others meet")
	}
	for name, lines := range map[string]string{
		"COPY":        "COPY big /\n",
		"base":        "RUN true\n",
		"RUN":         "RUN [\"/bin/wicked\", \"fill\", \"/file\", \"100000000\"]\n",
		"COPY --from": "COPY --chown=app big /\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			work := filepath.Join(s.dir, "home/small")
			must(t, os.Mkdir(work, 0o755))
			must(t, unix.Mount("tmpfs", work, "tmpfs", 0, "size=16m"))
			defer func() { must(t, unix.Unmount(work, unix.MNT_DETACH)) }()
			layers := [][]byte{wicked(t)}
			if name == "base" {
				noise := make([]byte, 24<<20)
				for i := range noise {
					noise[i] = byte(rand.Uint32())
				}
				layers = append(layers, pack(t, file("noise", string(noise))))
			}
			base := s.pushBase(t, "1", layers...)
			s.write("Dockerfile", "FROM "+base+"\n"+lines)
			noise := make([]byte, 40<<20)
			for i := range noise {
				noise[i] = byte(rand.Uint32())
			}
			s.write("big", string(noise))
			o := s.trowel("build", "--progress", "plain", "-t", s.host()+"/app:1", "--push", "--no-local-cache", "--tree-memory", "0", "--work-dir", work, s.context)
			t.Logf("%v %d MiB, exit code %d: %s", o.took, o.memory>>20, o.code, complaint(o.stderr))
			if name == "RUN" {
				s.refused(o, `no space left|exit code`)
			} else {
				s.refused(o, `home/small`, `no space left`, `hint: .*--work-dir`)
			}
			if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
				t.Errorf("left in the work directory: %v %v", left, err)
			}
			if len(s.tagged()) > 0 {
				t.Errorf("pushed: %q", s.tagged())
			}
		})
	}
}

// TestHostileFileSize builds where files may not become large.
func TestHostileFileSize(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]siteOption{"root": {smallFiles}, "user": {smallFiles, asUser}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, options...)
			noise := make([]byte, 10<<20)
			for i := range noise {
				noise[i] = byte(rand.Uint32())
			}
			s.write("big", string(noise))
			s.write("Dockerfile", "FROM scratch\nCOPY big /\n")
			s.own()
			o := s.build()
			t.Log(complaint(o.stderr))
			s.refused(o, `home/\.cache/trowel/work/build-.*file too large`, `hint: .*--work-dir`)
		})
	}
}

// TestHostileStdin ends a build that waits for its Dockerfile on standard input, where nobody writes.
func TestHostileStdin(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGINT": unix.SIGINT, "SIGTERM": unix.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			silent, mouth, err := os.Pipe()
			must(t, err)
			defer func() { must(t, errors.Join(silent.Close(), mouth.Close())) }()
			cmd := s.command(t.Context(), "build", "-f", "-", s.context)
			var text bytes.Buffer
			cmd.Stdin, cmd.Stderr = silent, &text
			must(t, cmd.Start())
			time.Sleep(300 * time.Millisecond)
			must(t, cmd.Process.Signal(signal))
			late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exitFailed {
				t.Errorf("it ended with %v:\n%s", err, &text)
			}
			s.unharmed()
		})
	}
}
