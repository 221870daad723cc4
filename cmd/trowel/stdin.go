package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxStdin bounds a Dockerfile on standard input, which is held in memory.
const maxStdin = 16 << 20

// keepStdin makes a Dockerfile on standard input readable again: for the run of this program in a user namespace, which
// inherits the descriptor. What cannot be read twice, such as a pipe, is moved to a memory file, which becomes descriptor
// 0. The result goes back to where the Dockerfile starts.
func (p program) keepStdin(ctx context.Context) (rewind func() error, err error) {
	stdin, ok := p.stdin.(*os.File)
	if !ok || stdin.Fd() != 0 {
		return func() error { return nil }, nil // not this process's standard input: nobody inherits it
	}
	start, err := unix.Seek(0, 0, io.SeekCurrent)
	if err != nil {
		start = 0
		if err := waitStdin(ctx, stdin); err != nil {
			return nil, fmt.Errorf("read the Dockerfile from standard input: %w", err)
		}
	}
	return func() error {
		if _, err := unix.Seek(0, start, io.SeekStart); err != nil {
			return fmt.Errorf("rewind standard input: %w", err)
		}
		return nil
	}, nil
}

// waitStdin is [moveStdin] for as long as ctx allows: whoever is to write may never do so, and a read cannot be taken back.
// It goes on until the program ends, which is at once.
func waitStdin(ctx context.Context, stdin *os.File) error {
	moved := make(chan error, 1)
	go func() { moved <- moveStdin(stdin) }()
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
	if _, err := memory.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := unix.Dup3(int(memory.Fd()), 0, 0); err != nil {
		return fmt.Errorf("replace standard input: %w", err)
	}
	return nil
}
