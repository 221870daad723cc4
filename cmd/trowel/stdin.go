package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// maxStdin bounds a Dockerfile on standard input, which is held in memory.
const maxStdin = 16 << 20

// input is what is on standard input.
type input string

// What can be on standard input.
const (
	noInput         input = ""
	dockerfileInput input = "Dockerfile"
	contextInput    input = "build context"
)

// keepStdin makes standard input readable again: for the run of this program in a user namespace, which inherits the
// descriptor. What cannot be read twice, such as a pipe, is moved to a file without a name, which becomes descriptor 0: in
// memory for a Dockerfile, in dir for a build context. The result goes back to where the input starts.
func (p program) keepStdin(ctx context.Context, what input, dir string) (rewind func() error, err error) {
	stdin, ok := p.stdin.(*os.File)
	if what == noInput || !ok || stdin.Fd() != 0 {
		return func() error { return nil }, nil // not this process's standard input: nobody inherits it
	}
	start, err := unix.Seek(0, 0, io.SeekCurrent)
	if err != nil {
		start = 0
		move := moveStdin
		if what == contextInput {
			if term.IsTerminal(int(stdin.Fd())) {
				return nil, usageError{errors.New("standard input is a terminal, and no build context: pipe an archive or a Dockerfile into it")}
			}
			move = func(stdin *os.File) error { return moveToDisk(stdin, dir) }
		}
		if err := waitStdin(ctx, stdin, move); err != nil {
			return nil, fmt.Errorf("read the %s from standard input: %w", what, err)
		}
	}
	return func() error {
		if _, err := unix.Seek(0, start, io.SeekStart); err != nil {
			return fmt.Errorf("rewind standard input: %w", err)
		}
		return nil
	}, nil
}

// waitStdin moves standard input for as long as ctx allows: whoever is to write may never do so, and a read cannot be taken back.
// It goes on until the program ends, which is at once.
func waitStdin(ctx context.Context, stdin *os.File, move func(*os.File) error) error {
	moved := make(chan error, 1)
	go func() { moved <- move(stdin) }()
	select {
	case err := <-moved:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// moveStdin reads standard input to its end and puts a sealed memory file with the same content in its place.
func moveStdin(stdin *os.File) (err error) {
	fd, err := unix.MemfdCreate("Dockerfile", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("create memory file: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "Dockerfile")
	defer func() { err = errors.Join(err, memory.Close()) }()
	n, err := io.Copy(memory, io.LimitReader(stdin, maxStdin+1))
	if err != nil {
		return err
	}
	if n > maxStdin {
		return fmt.Errorf("it has more than %d bytes", maxStdin)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(memory.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal memory file: %w", err)
	}
	return replaceStdin(memory)
}

// moveToDisk reads standard input to its end and puts a file in dir, which has no name any more, in its place.
func moveToDisk(stdin *os.File, dir string) (err error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(dir, "trowel-stdin-*")
	if err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := io.Copy(f, stdin); err != nil {
		return err
	}
	return replaceStdin(f)
}

// replaceStdin makes a file, from its start, this process's standard input.
func replaceStdin(f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := unix.Dup3(int(f.Fd()), 0, 0); err != nil {
		return fmt.Errorf("replace standard input: %w", err)
	}
	return nil
}
