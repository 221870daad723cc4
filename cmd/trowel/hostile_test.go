package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// testUser is who becomeUser makes of a process.
const testUser = 4321

// maxHostileMemory is what a build may hold in memory, whatever it is given, in bytes. Without anything hostile it is a fifth.
const maxHostileMemory = 400 << 20

// sharedBase is the image with a shell, made once.
var sharedBase = sync.OnceValues(baseImage)

// site is where a hostile build takes place: a home, a cache and a context of its own, a registry, and files outside that
// nothing may touch.
type site struct {
	*wickedRegistry
	t       *testing.T
	dir     string
	context string
	canary  string
	before  map[string]string
	// user is set to build as an ordinary user where the test is root's.
	user bool
	// memory is what a build may hold, in bytes.
	memory int64
	// small is set to let builds write small files only.
	small bool
}

// siteOption is how a site differs from the usual.
type siteOption func(*site)

// asUser makes builds run as an ordinary user.
func asUser(s *site) { s.user = os.Getuid() == 0 }

// smallFiles makes each file that a build writes end at 4 MiB.
func smallFiles(s *site) { s.small = true }

func newSite(t *testing.T, options ...siteOption) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "hostile-") // t.TempDir's parents are root's alone
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	s := &site{wickedRegistry: newWickedRegistry(t), t: t, dir: dir, context: filepath.Join(dir, "ctx"), canary: filepath.Join(dir, "canary"), memory: maxHostileMemory}
	for _, o := range options {
		o(s)
	}
	for _, d := range []string{"ctx", "canary/below", "home", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	s.write("../canary/file", "alive\n")
	s.write("../canary/below/file", "alive too\n")
	must(t, os.Symlink("file", filepath.Join(s.canary, "link")))
	s.own()
	s.before = s.canaries()
	return s
}

// own gives everything to the user that builds.
func (s *site) own() {
	s.t.Helper()
	must(s.t, os.Chmod(s.dir, 0o755))
	if !s.user {
		return
	}
	must(s.t, filepath.WalkDir(s.dir, func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, testUser, testUser))
	}))
}

// write writes a file of the context.
func (s *site) write(name, text string) {
	s.t.Helper()
	name = filepath.Join(s.context, name)
	must(s.t, errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)))
}

// canaries describes the files that nothing may touch.
func (s *site) canaries() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	must(s.t, filepath.WalkDir(s.canary, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != uint32(os.Getuid()) && st.Uid != testUser {
			text += " of somebody"
		}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += " " + string(content)
		}
		all[p] = text
		return nil
	}))
	return all
}

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
	memory         int64 // most that it held, in bytes
	took           time.Duration
}

// command prepares a run of trowel.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "trowel", args...)
	if s.small {
		cmd = exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `ulimit -f 8192 && exec trowel "$@"`, "trowel"}, args...)...)
	}
	cmd.Dir = s.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "GITLAB_CI", "GITHUB_ACTIONS", "SOURCE_DATE_EPOCH", "DOCKER_CONFIG"}, name)
	})
	cmd.Env = append(cmd.Env, "HOME="+filepath.Join(s.dir, "home"), "TMPDIR="+filepath.Join(s.dir, "tmp"), "CANARY="+s.canary)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if s.user {
		cmd.Env = append(cmd.Env, envSetUp+"="+userManyIDs)
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS
	}
	return cmd
}

// trowel runs a command, which must neither hang nor swell nor touch what is not its own, nor leave anything behind.
func (s *site) trowel(args ...string) outcome {
	s.t.Helper()
	o := s.start(args...)
	s.unharmed()
	return o
}

// start runs a command, which must neither hang nor swell.
func (s *site) start(args ...string) outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := s.command(ctx, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	start := time.Now()
	must(s.t, cmd.Start())
	watched := make(chan int64)
	go func() { // rusage would count what the test held when it forked
		var most int64
		for held := int64(0); held >= 0; time.Sleep(10 * time.Millisecond) {
			if held = memoryOf(cmd.Process.Pid); held > 4*s.memory {
				cancel() // before the machine suffers
			}
			most = max(most, held)
		}
		watched <- most
	}()
	err := cmd.Wait()
	o := outcome{stdout: out.String(), stderr: errOut.String(), memory: <-watched, took: time.Since(start)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		o.code = exit.ExitCode()
	} else if err != nil {
		s.t.Fatal(err)
	}
	if ctx.Err() != nil {
		s.t.Errorf("it hung:\n%s", o.stderr)
	}
	if o.memory > s.memory {
		s.t.Errorf("it took %d MiB of memory", o.memory>>20)
	}
	return o
}

// build builds the context with these flags and pushes it as app:1.
func (s *site) build(flags ...string) outcome {
	s.t.Helper()
	o := s.trowel(s.buildArgs(flags...)...)
	if o.code != 0 && len(s.tagged()) > 0 {
		s.t.Errorf("a failed build pushed the manifests %q", s.tagged())
	}
	return o
}

func (s *site) buildArgs(flags ...string) []string {
	args := append([]string{"build", "--progress", "plain", "-t", s.host() + "/app:1", "--push"}, flags...)
	return append(args, s.context)
}

// unharmed makes sure that nothing outside was touched and nothing was left behind.
func (s *site) unharmed() {
	s.t.Helper()
	if diff := cmp.Diff(s.before, s.canaries()); diff != "" {
		s.t.Errorf("files outside were touched (-before +after):\n%s", diff)
	}
	for _, pattern := range []string{"home/.cache/trowel/work/build-*", "tmp/trowel-*/build-*", "tmp/*/*"} {
		left, err := filepath.Glob(filepath.Join(s.dir, pattern))
		must(s.t, err)
		if len(left) > 0 {
			s.t.Errorf("left behind: %q", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(s.t, err)
	if strings.Contains(string(mounts), s.dir+"/home/.cache") {
		s.t.Errorf("something is mounted below %s", s.dir)
	}
}

var (
	internals   = regexp.MustCompile(`goroutine \d|panic|\.go:\d|0x[0-9a-f]{6}|&\{|%!|\*[a-z]+\.[A-Z]|<nil>|runtime error|Go struct`)
	beneath     = regexp.MustCompile(`^([> ] *\d+ \| | +\| *\^|hint: )`)
	unprintable = regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f]`)
)

// refused makes sure that a command ended in a clear error: one line that has the words, lines of the Dockerfile, a hint.
func (s *site) refused(o outcome, want ...string) {
	s.t.Helper()
	if o.code != exitFailed && o.code != exitUsage {
		s.t.Errorf("exit code %d", o.code)
	}
	if o.stdout != "" {
		s.t.Errorf("standard output has %q", o.stdout)
	}
	text := complaint(o.stderr)
	if text == "" {
		s.t.Errorf("no error is told:\n%s", o.stderr)
		return
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for _, l := range lines[1:] {
		if !beneath.MatchString(l) {
			s.t.Errorf("the error has more than a line, %q:\n%s", l, text)
		}
	}
	if len(lines[0]) > 1000 {
		s.t.Errorf("the error is %d bytes long", len(lines[0]))
	}
	if at := internals.FindString(text); at != "" {
		s.t.Errorf("the error has %q:\n%s", at, text)
	}
	if unprintable.MatchString(o.stderr) {
		s.t.Errorf("control characters reach the terminal: %q", o.stderr)
	}
	for _, w := range want {
		if ok, err := regexp.MatchString("(?s)"+w, text); err != nil || !ok {
			s.t.Errorf("the error does not match %q:\n%s", w, text)
		}
	}
}

// complaint is what is told from the error on.
func complaint(stderr string) string {
	const start = "trowel: error: "
	if strings.HasPrefix(stderr, start) {
		return stderr
	}
	if i := strings.LastIndex(stderr, "\n"+start); i >= 0 {
		return stderr[i+1:]
	}
	return ""
}

// succeeded makes sure that a command did what it was asked.
func (s *site) succeeded(o outcome) {
	s.t.Helper()
	if o.code != exitOK {
		s.t.Fatalf("exit code %d:\n%s", o.code, o.stderr)
	}
}

// must ends the test if err is one.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needRun leaves a test of RUN where no process can be run; testdata/script has what is told then.
func needRun(t *testing.T) {
	t.Helper()
	if !permitsRun() {
		t.Skip("no process can be run here: see trowel doctor")
	}
}

var permitsRun = sync.OnceValue(canRun)

// epochStart is a time for what needs one.
var epochStart = time.Unix(1_000_000_000, 0)

// memoryOf is the most that a process or one that it started held in memory; negative if it has ended.
func memoryOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return -1
	}
	var most int64 = -1
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return -1
			}
			most = kib << 10
		}
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return most
	}
	for _, name := range tasks {
		children, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(f); err == nil {
				most = max(most, memoryOf(child))
			}
		}
	}
	return most
}
