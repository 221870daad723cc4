package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long one run of git may take.
	patience = time.Hour
	// maxFile bounds each file that git writes.
	maxFile = 64 << 30
	// maxSaid is how much of what git says is kept.
	maxSaid = 64 << 10
)

// run is one run of git.
type run struct {
	args   []string
	dir    string // of the repository, as --git-dir; empty for none
	remote *remote
	auth   authorization
	input  io.Reader
	output io.Writer
}

// Error is git's failure, with what the user can do about it.
type Error struct {
	Said string // the lines in which git says what is wrong
	hint string
	err  error
}

// Error is what git said.
func (e *Error) Error() string {
	if e.Said == "" {
		return "git: " + e.err.Error()
	}
	return "git: " + e.Said
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// Hint says what would help.
func (e *Error) Hint() string { return e.hint }

// git runs git. It sees no configuration of the machine or the user, asks nobody anything, runs no hook and no program that a
// repository names, and speaks no protocol but those of its remote.
func (c *Client) git(ctx context.Context, r run) (err error) {
	program, err := exec.LookPath("git")
	if err != nil {
		return &Error{err: errors.New("the program is not installed"), hint: "install git, or check the repository out and name the directory"}
	}
	home, err := os.MkdirTemp(c.Dir, "git-home-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(home) }() // what is left goes with the build
	config, err := c.config(home, r)
	if err != nil {
		return err
	}
	defer config.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(arguments(r), r.args...)...)
	cmd.Dir, cmd.Stdin, cmd.Stdout = home, r.input, r.output
	said := &tail{}
	cmd.Stderr = said
	ssh, stop, err := c.ssh(ctx, home, r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	cmd.Env = append(c.environment(home, r), "GIT_SSH_COMMAND="+ssh, "GIT_SSH_VARIANT=ssh")
	cmd.ExtraFiles = []*os.File{config}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has children, which must end with it
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return &Error{err: err}
	}
	// Best effort: what it starts from now on inherits it.
	_ = unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: maxFile, Max: maxFile}, nil)
	err = cmd.Wait()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &Error{err: fmt.Errorf("it took more than %v", patience)}
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &Error{Said: r.auth.redact(said.reason()), err: err}
}

// text runs git and returns what it prints.
func (c *Client) text(ctx context.Context, r run) (string, error) {
	var out bytes.Buffer
	r.output = &limited{w: &out, left: maxText}
	err := c.git(ctx, r)
	return out.String(), err
}

// maxText bounds what git prints where it is read as a whole.
const maxText = 256 << 20

type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("git prints too much")
	}
	return l.w.Write(p)
}

// arguments are those before the command. They hold what must count even for a git that does not read our configuration.
func arguments(r run) []string {
	follow := "initial"
	if r.auth != "" {
		follow = "false" // see [Client.talk]
	}
	args := []string{
		"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.askPass=", "-c", "credential.helper=",
		"-c", "protocol.ext.allow=never", "-c", "transfer.bundleURI=false", "-c", "submodule.recurse=false",
		"-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "init.defaultBranch=main", "-c", "init.templateDir=",
		"-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60", "-c", "http.followRedirects=" + follow,
		"-c", "tar.umask=0022", "-c", "core.quotePath=false", "-c", "advice.detachedHead=false",
	}
	if r.dir != "" {
		args = append(args, "--git-dir", r.dir)
	}
	return args
}

// environment is all that git sees of ours.
func (c *Client) environment(home string, r run) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C", "TMPDIR=" + c.Dir,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_LITERAL_PATHSPECS=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=", "SSH_ASKPASS=", "SSH_ASKPASS_REQUIRE=never",
		"GIT_PROTOCOL_FROM_USER=0", "GIT_NO_LAZY_FETCH=1",
		// What is around our temporary files may be a repository with a configuration, such as that of the CI job.
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(home),
	}
	allowed := ""
	if r.remote != nil {
		allowed = r.remote.protocol
		if allowed == "http" {
			allowed = "http:https" // to be led from one to the other is common
		}
		env = append(env, c.proxies(r.remote)...)
	}
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return append(env, "GIT_ALLOW_PROTOCOL="+allowed)
}

// config is git's configuration for one run. It can hold a secret, so that it exists in memory alone: what HOME has for
// .gitconfig leads to the descriptor that git inherits.
func (c *Client) config(home string, r run) (_ *os.File, err error) {
	fd, err := unix.MemfdCreate("gitconfig", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "gitconfig")
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if r.remote != nil {
		if _, err := f.WriteString(c.settings(r)); err != nil {
			return nil, err
		}
	}
	return f, os.Symlink("/proc/self/fd/3", filepath.Join(home, ".gitconfig"))
}

// tail keeps the end of what git says.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - maxSaid; over > 0 {
		t.text = t.text[over:]
	}
	return len(p), nil
}

// reason is the lines in which git says what is wrong, or else the last ones.
func (t *tail) reason() string {
	lines := strings.FieldsFunc(string(t.text), func(r rune) bool { return r == '\n' || r == '\r' })
	var wrong []string
	for _, line := range lines {
		for _, mark := range []string{"fatal: ", "error: ", "ERROR: "} {
			if text, ok := strings.CutPrefix(line, mark); ok {
				wrong = append(wrong, strings.TrimSpace(text))
			}
		}
		if strings.HasPrefix(line, "ssh: ") || strings.Contains(line, "Permission denied (") || strings.HasPrefix(line, "Host key verification failed") {
			wrong = append(wrong, line) // what ssh says has no mark
		}
	}
	if len(wrong) == 0 {
		wrong = lines[max(0, len(lines)-3):]
	}
	return strings.Join(wrong[:min(len(wrong), 4)], "; ")
}
