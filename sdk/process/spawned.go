package process

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/process/wire"
)

// The environment variables of go-plugin's protocol.
const (
	envClientCert = "PLUGIN_CLIENT_CERT"
	envSocketDir  = "PLUGIN_UNIX_SOCKET_DIR"
	coreProtocol  = 1
)

// serveSpawned serves the host that started this process.
func (s *server) serveSpawned() error {
	if err := holdLifeline(os.Getenv(envLifeline)); err != nil {
		return err
	}
	if err := hideMemory(); err != nil {
		return err
	}
	handshake, err := takeStdout()
	if err != nil {
		return fmt.Errorf("lead standard output to standard error: %w", err)
	}
	defer handshake.Close()
	settings, err := mutualTLS(os.Getenv(envClientCert))
	if err != nil {
		return err
	}
	dir := os.Getenv(envSocketDir)
	if dir == "" { // another host of go-plugin's
		if dir, err = os.MkdirTemp("", "plugin"); err != nil {
			return err
		}
		defer func() { _ = os.Remove(dir) }() // empty by then
	}
	path := filepath.Join(dir, "plugin.sock")
	listener, err := listenPrivately(path)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the server has done so
	clearEnvironment()
	certificate := base64.RawStdEncoding.EncodeToString(settings.Certificates[0].Certificate[0])
	if _, err := fmt.Fprintf(handshake, "%d|%d|unix|%s|grpc|%s\n", coreProtocol, abi.Version, path, certificate); err != nil {
		return fmt.Errorf("greet the host: %w", err)
	}
	handshake.Close()
	return s.serve(listener, settings)
}

// holdLifeline ends this process and its children when the host is gone: when the descriptor is at its end.
func holdLifeline(number string) error {
	if number == "" {
		return nil // another host of go-plugin's
	}
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 3 {
		return fmt.Errorf("%s: %q is not a descriptor's number", envLifeline, number)
	}
	syscall.CloseOnExec(fd)
	line := os.NewFile(uintptr(fd), "lifeline")
	go func() {
		_, _ = io.Copy(io.Discard, line)
		if syscall.Getpgrp() == os.Getpid() {
			_ = syscall.Kill(0, syscall.SIGKILL)
		}
		os.Exit(1)
	}()
	// The host had the kernel kill this process with it, as not every plugin watches the line. That would be too early: the
	// children would live on.
	if err := prctl(syscall.PR_SET_PDEATHSIG, 0); err != nil {
		return fmt.Errorf("outlive the host for a moment: %w", err)
	}
	return nil
}

// hideMemory keeps other processes of the same user from reading this one's memory: it may hold secrets.
func hideMemory() error {
	if err := prctl(syscall.PR_SET_DUMPABLE, 0); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	return nil
}

// prctl sets an attribute of the process.
func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option, value, 0); errno != 0 {
		return errno
	}
	return nil
}

// takeStdout returns standard output, and has whatever the plugin and its children print there go to standard error.
func takeStdout() (*os.File, error) {
	// The descriptor is closed on execve from its start: nothing that the plugin started so far can get hold of it.
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, 1, syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return nil, errno
	}
	if err := syscall.Dup3(2, 1, 0); err != nil {
		return nil, err
	}
	return os.NewFile(fd, "handshake"), nil
}

// clearEnvironment removes what is between the host and this package, so that the plugin's children do not take themselves
// for plugins.
func clearEnvironment() {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if name == wire.CookieName || name == envLifeline || strings.HasPrefix(name, "PLUGIN_") {
			_ = os.Unsetenv(name) // the name is one that there is
		}
	}
}
