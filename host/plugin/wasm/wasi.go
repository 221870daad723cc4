package wasm

import (
	"crypto/rand"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// wasiFunctions are the functions of WASI preview 1, listed so that an update of the runtime gives plugins no new ones.
var wasiFunctions = strings.Fields(`
	args_get args_sizes_get environ_get environ_sizes_get clock_res_get clock_time_get
	fd_advise fd_allocate fd_close fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get
	fd_filestat_set_size fd_filestat_set_times fd_pread fd_prestat_get fd_prestat_dir_name fd_pwrite fd_read fd_readdir
	fd_renumber fd_seek fd_sync fd_tell fd_write
	path_create_directory path_filestat_get path_filestat_set_times path_link path_open path_readlink
	path_remove_directory path_rename path_symlink path_unlink_file
	poll_oneoff proc_exit proc_raise random_get sched_yield
	sock_accept sock_recv sock_send sock_shutdown`)

// configure gives an instance its clock, its randomness and its outputs. There are no arguments, no environment, no
// directories, and nothing on standard input.
func configure(purity transport.Purity, sleep func(ns int64), stdout, stderr *lines) wazero.ModuleConfig {
	config := wazero.NewModuleConfig().
		WithName(""). // so that there can be several
		WithStartFunctions().
		WithStdout(stdout).
		WithStderr(stderr)
	if purity == transport.Deterministic {
		return config // the runtime's own clock begins in 2022 and goes by readings, its randomness has a fixed seed
	}
	return config.WithSysWalltime().WithSysNanotime().WithNanosleep(sleep).WithRandSource(rand.Reader)
}

// sleep waits until ns have passed or done is closed.
func sleep(ns int64, done <-chan struct{}) {
	timer := time.NewTimer(time.Duration(ns))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}

// maxTail is how much of what a plugin wrote last is kept for an error.
const maxTail = 4 << 10

// lines passes what is written to it on, line by line, and keeps the end of it.
type lines struct {
	log  func(level sdk.Level, text string)
	line []byte
	tail []byte
	// cause is the first line that says why a program ends; what follows it may be longer than the tail.
	cause string
}

// Write takes output. Lines longer than a log message are cut in pieces.
func (l *lines) Write(p []byte) (int, error) {
	l.keep(p)
	for rest := p; len(rest) > 0; {
		n := min(len(rest), abi.MaxLog-len(l.line))
		end := -1
		for i, c := range rest[:n] {
			if c == '\n' {
				end = i
				break
			}
		}
		if end >= 0 {
			l.line = append(l.line, rest[:end]...)
			rest = rest[end+1:]
			l.flush()
			continue
		}
		l.line = append(l.line, rest[:n]...)
		rest = rest[n:]
		if len(l.line) == abi.MaxLog {
			l.flush()
		}
	}
	return len(p), nil
}

func (l *lines) keep(p []byte) {
	if len(p) >= maxTail {
		l.tail = append(l.tail[:0], p[len(p)-maxTail:]...)
		return
	}
	if drop := len(l.tail) + len(p) - maxTail; drop > 0 {
		l.tail = append(l.tail[:0], l.tail[drop:]...)
	}
	l.tail = append(l.tail, p...)
}

// flush passes a line on, finished or not.
func (l *lines) flush() {
	if len(l.line) == 0 {
		return
	}
	text := string(l.line)
	l.line = l.line[:0]
	l.log(sdk.LevelDebug, text)
	if l.cause != "" {
		return
	}
	// As the runtimes of Go, Rust and AssemblyScript begin it.
	for _, beginning := range []string{"panic: ", "fatal error: ", "thread '", "abort: "} {
		if strings.HasPrefix(text, beginning) {
			l.cause = text
		}
	}
}

// forget drops what is kept.
func (l *lines) forget() { l.line, l.tail, l.cause = l.line[:0], l.tail[:0], "" }

// last is the end of what was written, and the cause if that was before.
func (l *lines) last() string {
	text := strings.ToValidUTF8(string(l.tail), "\uFFFD")
	if !strings.Contains(text, l.cause) {
		text = strings.ToValidUTF8(l.cause, "\uFFFD") + "\n…\n" + text
	}
	return text
}
