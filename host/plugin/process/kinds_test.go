package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/process"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// A plugin as authors write them, from the one end of the contract to the other.
func TestAuthor(t *testing.T) {
	t.Parallel()
	s := &services{answer: func(_ context.Context, op abi.HostOp, request []byte) []byte {
		return abi.HandleHost(context.Background(), sdk.Services{Env: fixedEnv{}}, op, request)
	}}
	hello := abi.HelloRequest{ABI: abi.Version, Host: "test", Name: "a", Kind: sdk.KindCache, Config: map[string]any{"greeting": "hello"}}
	p := open(t, "author", func(o *process.Options) {
		o.Services, o.Hello = s, abi.AppendHelloRequest(nil, &hello)
	})
	envelope, err := p.Hello(t.Context())
	must(t, err)
	got, err := abi.ReadHello(envelope, sdk.KindCache)
	must(t, err)
	if got.Name != "author" || got.Version != "1.2.3" {
		t.Errorf("got %+v", got)
	}
	cache := abi.NewClient(p).Cache()
	record := sdk.Record{Key: "step/1", Value: []byte("value")}
	must(t, cache.PutRecords(t.Context(), []sdk.Record{record}))
	records, err := cache.GetRecords(t.Context(), []sdk.Key{"step/1", "step/2"})
	must(t, err)
	if diff := cmp.Diff([]sdk.Record{record}, records); diff != "" {
		t.Error(diff)
	}
	s.logged(t, "info hello, the value of GRANTED", 1)

	content := bytes.Repeat([]byte("blob"), 1<<20)
	blob := sdk.Blob{Digest: "sha256:00", Size: int64(len(content))}
	must(t, cache.PutBlob(t.Context(), blob, sdk.Content{Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}))
	back, err := cache.GetBlob(t.Context(), blob.Digest)
	must(t, err)
	from, err := back.Open(t.Context())
	must(t, err)
	defer from.Close()
	read, err := io.ReadAll(from)
	if err != nil || !bytes.Equal(read, content) {
		t.Errorf("got %d bytes, want %d, %v", len(read), len(content), err)
	}
	if _, err := cache.GetBlob(t.Context(), "sha256:11"); !errors.Is(err, sdk.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

type fixedEnv struct{}

func (fixedEnv) Env(_ context.Context, names []string) (vars []sdk.Variable, err error) {
	for _, n := range names {
		vars = append(vars, sdk.Variable{Name: n, Value: "the value of " + n})
	}
	return vars, nil
}

// The protocol is go-plugin's: a plugin that was written with it and with a protobuf library works.
func TestNative(t *testing.T) {
	t.Parallel()
	p := open(t, "native", nil)
	hello, err := p.Hello(t.Context())
	must(t, err)
	if want := `{"ok":{"name":"native"}}`; string(hello) != want {
		t.Errorf("got %s, want %s", hello, want)
	}
	for _, size := range []int{1, 100, 1 << 20} { // the host answers it, and the plugin passes the answer on
		request := strings.Repeat("x", size)
		if got := mustCall(t, p, opEcho, request); got != "3 "+request {
			t.Errorf("got %d bytes", len(got))
		}
	}
	begin := time.Now()
	must(t, p.Close(t.Context()))
	if took := time.Since(begin); took > time.Second {
		t.Errorf("close took %v", took)
	}
}

// A plugin that somebody runs in a debugger is used where it is, and stays when the host goes.
func TestAttach(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "debug", "raw.sock")
	cmd := exec.CommandContext(t.Context(), filepath.Join(built, "raw"))
	cmd.Env = []string{"TROWEL_PLUGIN_SERVE=" + socket}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	must(t, cmd.Start())
	listening(t, socket)
	for path, want := range map[string]os.FileMode{socket: os.ModeSocket | 0o600, filepath.Dir(socket): os.ModeDir | 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has the mode %v, want %v", path, info.Mode(), want)
		}
	}
	for range 2 {
		p, err := process.Open(process.Options{Name: "raw", Attach: socket, Hello: []byte("1"), Services: &services{}})
		must(t, err)
		if got := mustCall(t, p, opHost, "attached"); got != "3 attached" {
			t.Errorf("got %q", got)
		}
		must(t, p.Pause(t.Context()))
		p.Resume()
		must(t, p.Close(t.Context()))
	}
	must(t, cmd.Process.Signal(syscall.SIGINT))
	must(t, cmd.Wait())
	if !strings.Contains(stderr.String(), "plugin raw serves at "+socket) {
		t.Errorf("it said %q", stderr.String())
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// listening waits until somebody listens on a socket, whose name is there before.
func listening(t *testing.T, socket string) {
	t.Helper()
	eventually(t, func() error {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

func TestAttachRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() // others may look into it
	must(t, os.Chmod(dir, 0o755))
	p, err := process.Open(process.Options{Name: "raw", Attach: filepath.Join(dir, "raw.sock"), Services: &services{}})
	must(t, err)
	if _, err := p.Hello(t.Context()); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("got %v", err)
	}
	must(t, p.Close(t.Context()))

	cmd := exec.CommandContext(t.Context(), filepath.Join(built, "raw"))
	cmd.Env = []string{"TROWEL_PLUGIN_SERVE=" + filepath.Join(dir, "raw.sock")}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "chmod 700") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A process of another user is not let in, even if a directory does not keep it out.
func TestAttachOtherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // only root can be somebody else
	}
	dir, err := os.MkdirTemp("", "attach")
	must(t, err)
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "raw.sock")
	cmd := exec.CommandContext(t.Context(), filepath.Join(built, "raw"))
	cmd.Env = []string{"TROWEL_PLUGIN_SERVE=" + socket}
	must(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer cmd.Process.Kill()
	listening(t, socket)
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(socket, 0o666))
	client := filepath.Join(dir, "client")
	must(t, os.Link(filepath.Join(built, "outsider"), client))
	ask := func(uid uint32) string {
		c := exec.CommandContext(t.Context(), client, "1", socket, "ask")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if got := ask(0); got != "answered" {
		t.Errorf("the same user: %q", got)
	}
	if got := ask(65534); got != "closed" {
		t.Errorf("another user: %q", got)
	}
}

// Options that cannot work are refused before anything runs.
func TestBadOptions(t *testing.T) {
	t.Parallel()
	public := t.TempDir()
	must(t, os.Chmod(public, 0o755))
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	must(t, os.Mkdir(long, 0o700))
	good := process.Options{Name: "x", File: "/x", Digest: "sha256:00", Services: &services{}}
	for _, tt := range []struct {
		change func(o *process.Options)
		says   string
	}{
		{func(o *process.Options) { o.Digest = "" }, "no digest"},
		{func(o *process.Options) { o.Program = []byte("x") }, "either"},
		{func(o *process.Options) { o.File = "" }, "either"},
		{func(o *process.Options) { o.Services = nil }, "services"},
		{func(o *process.Options) { o.Dir = public }, "chmod 700"},
		{func(o *process.Options) { o.Dir = long }, "70 bytes"},
	} {
		o := good
		tt.change(&o)
		if _, err := process.Open(o); err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), `open plugin "x"`) {
			t.Errorf("got %v, want %q", err, tt.says)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for _, name := range []string{"raw", "native"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p := open(b, name, nil)
				if _, err := p.Hello(b.Context()); err != nil {
					b.Fatal(err)
				}
				must(b, p.Close(b.Context()))
			}
		})
	}
}

func BenchmarkCall(b *testing.B) {
	for _, size := range []int{200, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := open(b, "raw", nil)
			request := make([]byte, size)
			var times []time.Duration
			b.SetBytes(int64(size))
			for b.Loop() {
				begin := time.Now()
				if _, err := p.Call(b.Context(), opEcho, request, nil); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(begin))
			}
			report(b, times)
		})
	}
}

func report(b *testing.B, times []time.Duration) {
	b.Helper()
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

func BenchmarkStream(b *testing.B) {
	for _, tt := range []struct {
		name    string
		op      abi.Op
		streams func() abi.Streams
	}{
		{"read", opRead, func() abi.Streams { return abi.Streams{1: io.LimitReader(zeros{}, streamSize)} }},
		{"write", opWrite, func() abi.Streams { return abi.Streams{2: onlyWriter(io.Discard)} }},
	} {
		b.Run(tt.name, func(b *testing.B) {
			p := open(b, "raw", nil)
			b.SetBytes(streamSize)
			for b.Loop() {
				if _, err := p.Call(b.Context(), tt.op, fmt.Append(nil, streamSize), tt.streams()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
