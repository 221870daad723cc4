package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// emulator runs programs for arm64.
const emulator = "qemu-aarch64-static"

// binfmt is where the kernel is told of emulators.
const binfmt = "/proc/sys/fs/binfmt_misc"

// magicARM64 and maskARM64 are those of ELF programs for arm64, as qemu's own script has them.
const (
	magicARM64 = `\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00`
	maskARM64  = `\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`
)

// ErrNoEmulators says that the kernel cannot be told of emulators here.
var ErrNoEmulators = errors.New("no emulator can be registered")

// RegisterARM64 makes programs for arm64 run on this machine, also where the emulator cannot be seen, until remove is called.
func (l *Lab) RegisterARM64(ctx context.Context) (remove func() error, err error) {
	if err := l.Install(ctx, emulator); err != nil {
		return nil, err
	}
	path, err := exec.LookPath(emulator)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(binfmt, "register")); err != nil {
		if err := unix.Mount("binfmt_misc", binfmt, "binfmt_misc", 0, ""); err != nil {
			return nil, fmt.Errorf("%w: mount %q: %w", ErrNoEmulators, binfmt, err)
		}
	}
	const name = "trowel-lab-arm64"
	rule := strings.Join([]string{"", name, "M", "", magicARM64, maskARM64, path, "F"}, ":")
	if err := os.WriteFile(filepath.Join(binfmt, "register"), []byte(rule), 0o200); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEmulators, err)
	}
	return func() error { return os.WriteFile(filepath.Join(binfmt, name), []byte("-1"), 0o200) }, nil
}
