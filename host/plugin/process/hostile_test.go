package process_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/sdk"
)

// sight is what a plugin finds itself with.
type sight struct {
	Stdin          string
	Env, EnvNow    []string
	Files          []string
	Dir            string
	Status         string
	Core, Dumpable uint64
	PID, PGrp      int
}

func look(t testing.TB, p *process.Plugin) (s sight) {
	t.Helper()
	must(t, json.Unmarshal([]byte(mustCall(t, p, opLook, "")), &s))
	return s
}

// gone says what keeps a process from being gone. One that nobody waits for is as good as gone.
func gone(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil && !strings.Contains(string(text), ") Z ") {
		return fmt.Errorf("process %d lives: %s", pid, text)
	}
	return nil
}

func state(t testing.TB, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))[0]
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

// A plugin has nothing but what go-plugin's protocol needs and what it was granted.
func TestSurroundings(t *testing.T) { // not parallel: it leaks a descriptor and changes the environment
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
	leak, err := os.CreateTemp(t.TempDir(), "inherited")
	must(t, err)
	fd, err := syscall.Dup(int(leak.Fd())) // without the mark that Go sets
	must(t, err)
	defer syscall.Close(fd)
	stdin, secret, err := os.Pipe()
	must(t, err)
	_, err = secret.WriteString("FROM scratch")
	must(t, err)
	realStdin := os.Stdin
	os.Stdin = stdin
	defer func() { os.Stdin = realStdin }()

	got := look(t, open(t, "raw", func(o *process.Options) { o.Env = []string{"AWS_REGION=eu-central-1"} }))
	var names []string
	for _, v := range got.Env {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
		if strings.Contains(v, "wJalrXUtnFEMI") {
			t.Errorf("the environment has the secret: %s", v)
		}
	}
	want := []string{
		"AWS_REGION", "TROWEL_PLUGIN", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_CLIENT_CERT",
		"PLUGIN_UNIX_SOCKET_DIR", "TROWEL_PLUGIN_LIFELINE",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("environment: %s", diff)
	}
	if diff := cmp.Diff([]string{"AWS_REGION=eu-central-1"}, got.EnvNow); diff != "" {
		t.Errorf("environment of children: %s", diff)
	}
	if got.Stdin != "" {
		t.Errorf("standard input has %q", got.Stdin)
	}
	for _, f := range got.Files {
		goRuntime := strings.HasPrefix(f, "/sys/fs/cgroup/")
		if strings.HasPrefix(f, "/") && f != "/dev/null" && !strings.HasPrefix(f, "/proc/") && !goRuntime || strings.Contains(f, "memfd") {
			t.Errorf("it has %s open", f)
		}
	}
	if got.Dir != "/" || got.PID != got.PGrp {
		t.Errorf("directory %s, process %d, group %d", got.Dir, got.PID, got.PGrp)
	}
	if !strings.Contains(got.Status, "NoNewPrivs:\t1") {
		t.Errorf("it can gain privileges: %s", got.Status)
	}
	if got.Core != 0 || got.Dumpable != 0 {
		t.Errorf("core limit %d, dumpable %d", got.Core, got.Dumpable)
	}
	if own, err := os.ReadFile("/proc/thread-self/status"); err != nil || strings.Contains(string(own), "NoNewPrivs:\t1") {
		t.Errorf("the host gave up its privileges too: %v", err)
	}
}

// What a plugin does wrong before it serves is told.
func TestBadStarts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode string
		code sdk.ErrorCode
		says []string
	}{
		{"noise", sdk.CodeCrashed, []string{"printed to standard output before it served", "loading config…"}},
		{"exit", sdk.CodeCrashed, []string{"ended before it served", "exit status 3", "no license found"}},
		{"silent", sdk.CodeTimeout, []string{"did not serve within 500ms"}},
		{"elsewhere", sdk.CodeCrashed, []string{"/run/docker.sock", "not on a socket in its directory"}},
		{"plain", sdk.CodeUnsupported, []string{"mutual TLS"}},
		{"future", sdk.CodeUnsupported, []string{"version 7", "version 1"}},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			p := open(t, "raw", func(o *process.Options) {
				o.Env = []string{"MODE=" + tt.mode}
				if tt.code == sdk.CodeTimeout {
					o.Limits.Start = 500 * time.Millisecond
				}
			})
			_, err := p.Hello(t.Context())
			wantError(t, err, tt.code, tt.says...)
		})
	}
}

func TestStartCancelled(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", func(o *process.Options) { o.Env = []string{"MODE=silent"} })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := p.Hello(ctx)
	wantError(t, err, sdk.CodeTimeout)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// A program that is started by hand says what it is.
func TestByHand(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), filepath.Join(built, "author"))
	cmd.Env = []string{"TROWEL_PLUGIN=wrong"}
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), "author, a plugin of Trowel") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWrongDigest(t *testing.T) {
	t.Parallel()
	p := open(t, "raw", func(o *process.Options) { o.File = filepath.Join(built, "outsider") })
	_, err := p.Hello(t.Context())
	wantError(t, err, sdk.CodeDenied, "and not "+string(digest(t, filepath.Join(built, "raw"))))
}

func TestNoProgram(t *testing.T) {
	t.Parallel()
	script := filepath.Join(t.TempDir(), "script")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\necho hello\n"), 0o755))
	p := open(t, "raw", func(o *process.Options) { o.File, o.Digest = script, digest(t, script) })
	_, err := p.Hello(t.Context())
	wantError(t, err, sdk.CodeInvalid, "not a program")
}

// Where nothing is executed in memory, the program runs from a directory that is gone in the end.
func TestNoExecutableMemory(t *testing.T) {
	t.Parallel()
	var dir string
	p := open(t, "raw", func(o *process.Options) { dir = o.Dir })
	must(t, p.ForbidMemory())
	if got := mustCall(t, p, opEcho, "x"); got != "x" || !p.InDirectory() {
		t.Errorf("got %q, in a directory: %v", got, p.InDirectory())
	}
	programs, err := filepath.Glob(filepath.Join(dir, "program-*", "plugin"))
	if err != nil || len(programs) != 1 {
		t.Fatalf("programs %q, %v", programs, err)
	}
	if info, err := os.Stat(filepath.Dir(programs[0])); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	must(t, p.Close(t.Context()))
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Whoever changes the file between the check and the start runs nothing of theirs.
func TestSwappedProgram(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(filepath.Join(built, "raw"))
	must(t, err)
	evil, err := os.ReadFile(filepath.Join(built, "author")) // answers Hello with an error
	must(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "plugin")
	must(t, os.WriteFile(file, good, 0o755))
	ctx, stop := context.WithCancel(t.Context())
	swapped := make(chan error, 1)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			text := good
			if i%2 == 0 {
				text = evil
			}
			if err := os.WriteFile(file, text, 0o755); err != nil { // in place: a reader gets a mixture
				swapped <- err
				return
			}
		}
		swapped <- nil
	}()
	ran, refused := 0, 0
	for i := 0; i < 200 && (i < 20 || ran == 0 || refused == 0); i++ {
		p := open(t, "raw", func(o *process.Options) { o.File = file })
		hello, err := p.Hello(t.Context())
		if err == nil {
			ran++
			if want := `{"ok":{"name":"raw","hello":"hello"}}`; string(hello) != want {
				t.Fatalf("something else ran: %s", hello)
			}
		} else {
			refused++
			wantError(t, err, sdk.CodeDenied)
		}
		must(t, p.Close(t.Context()))
	}
	stop()
	must(t, <-swapped)
	t.Logf("ran %d times, refused %d times", ran, refused)
}

// The socket takes no connection but the host's.
func TestSocketRefuses(t *testing.T) {
	t.Parallel()
	var dir string
	p := open(t, "raw", func(o *process.Options) { dir = o.Dir })
	mustCall(t, p, opEcho, "")
	sockets, err := filepath.Glob(filepath.Join(dir, "*", "*.sock"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets %q in %s, %v", sockets, dir, err)
	}
	info, err := os.Stat(filepath.Dir(sockets[0]))
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has the mode %v", info.Mode())
	}
	plain, err := net.Dial("unix", sockets[0])
	must(t, err)
	defer plain.Close()
	_, err = plain.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	must(t, err)
	answer := make([]byte, 64)
	must(t, plain.SetReadDeadline(time.Now().Add(5*time.Second)))
	if n, err := plain.Read(answer); err == nil && !bytes.HasPrefix(answer[:n], []byte{21}) && !bytes.HasPrefix(answer[:n], []byte("HTTP/1.0 400")) {
		t.Errorf("a plain connection got %q", answer[:n])
	}
	raw, err := net.Dial("unix", sockets[0])
	must(t, err)
	stranger := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	defer stranger.Close()
	_, err = stranger.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	if err == nil {
		_, err = stranger.Read(answer)
	}
	// Where the server has closed the connection before the request was written, that is all the client learns.
	if err == nil || !strings.Contains(err.Error(), "certificate required") && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection without a certificate: %v", err)
	}
	if stranger.ConnectionState().Version != tls.VersionTLS13 {
		t.Errorf("TLS version %x", stranger.ConnectionState().Version)
	}
}

// A step cannot reach a plugin that runs beside it. Without the step's isolation it could: the program that tries it works.
func TestStepCannotReach(t *testing.T) {
	t.Parallel()
	var dir string
	p := open(t, "raw", func(o *process.Options) { dir = o.Dir })
	pid := look(t, p).PID
	sockets, err := filepath.Glob(filepath.Join(dir, "*", "*.sock"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets %q, %v", sockets, err)
	}
	attack := []string{"outsider", fmt.Sprint(pid), sockets[0]}

	cmd := exec.CommandContext(t.Context(), filepath.Join(built, "outsider"), attack[1:]...)
	outside, err := cmd.Output()
	must(t, err)
	if want := "see\nsignal\nptrace\nread memory\nconnect\nfind the socket\n"; os.Getuid() == 0 && string(outside) != want {
		t.Errorf("beside the plugin: got %q, want %q", outside, want)
	}

	root := t.TempDir()
	r := executor.Rootfs{
		Lowers: []string{"base"}, LayersDir: filepath.Join(root, "layers"), Upper: filepath.Join(root, "upper"),
		Work: filepath.Join(root, "work"), Merged: filepath.Join(root, "merged"),
	}
	for _, d := range []string{"upper", "work", "merged", "layers/base/bin", "layers/base/proc", "layers/base/sys", "layers/base/dev", "layers/base/etc", "layers/base/tmp"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	must(t, os.Link(filepath.Join(built, "outsider"), filepath.Join(root, "layers/base/bin/outsider")))
	var inside bytes.Buffer
	err = launcher.Run(t.Context(), r, executor.Process{
		Args: attack, Env: []string{"PATH=/bin"}, Dir: "/", Stdout: &inside, Stderr: &inside,
	})
	must(t, err)
	if got := strings.TrimSpace(inside.String()); got != "" && got != "signal" {
		t.Errorf("in a step: it could %q", got)
	}
	mustCall(t, p, opEcho, "")
}
