package author

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// CallRequest is one operation that a plugin is asked.
type CallRequest struct {
	Subject    *Subject
	CompileDir string
	Config     map[string]any
	Grants     service.Grants
	Getenv     func(string) string
	Op         abi.Op
	// Request is the message, as JSON.
	Request []byte
	// Body is the content of a blob for put-blob; Files are what an instruction handler reads. Both may be nil.
	Body  io.Reader
	Files sdk.FileSystem
	// Trace is told of each operation that the plugin asks of the host.
	Trace func(HostCall)
	Log   func(level sdk.Level, text string)
}

// HostCall is something that a plugin asked of the host.
type HostCall struct {
	Op      string
	Request []byte // the message, as JSON
	Took    time.Duration
	Answer  int // bytes
	Err     error
}

// CallResult is what came of a call.
type CallResult struct {
	// Answer is the message that the plugin answered with, as JSON.
	Answer []byte
	// Blob is what the plugin wrote to the stream of get-blob.
	Blob sdk.Blob

	Start  time.Duration // until the plugin was ready, without compilation
	Took   time.Duration // the call
	Memory int64         // the most that its instance had, in bytes; 0 for processes
}

// Call asks a plugin one operation. The error of the operation is an [*sdk.Error].
func Call(ctx context.Context, r CallRequest) (_ CallResult, err error) {
	h, err := newHarness(ctx, r.Subject, r.CompileDir)
	if err != nil {
		return CallResult{}, err
	}
	defer func() { err = errors.Join(err, h.close(context.WithoutCancel(ctx))) }()
	purity := transport.Ordinary
	if r.Subject.Kind == sdk.KindInstruction && len(r.Grants.Hosts)+len(r.Grants.Env)+len(r.Grants.Secrets) == 0 {
		purity = transport.Deterministic
	}
	services, err := service.New(service.Options{
		Plugin: r.Subject.Name, Kind: r.Subject.Kind, Purity: purity, Grants: r.Grants, Getenv: r.Getenv, Report: r.Log,
	})
	if err != nil {
		return CallResult{}, err
	}
	defer services.Close()
	memory := watchMemory()
	start := time.Now()
	plugin, err := h.start(ctx, conditions{config: r.Config, services: &traced{services, r.Trace}, purity: purity, once: true})
	if err != nil {
		memory()
		return CallResult{}, err
	}
	defer func() { err = errors.Join(err, plugin.close(ctx)) }()
	result := CallResult{Start: time.Since(start)}
	start = time.Now()
	answer, err := r.ask(ctx, plugin, &result)
	result.Took = time.Since(start)
	result.Memory = memory()
	if err != nil {
		return result, err
	}
	result.Answer, err = abi.Result(answer)
	return result, err
}

func (r CallRequest) ask(ctx context.Context, plugin *run, result *CallResult) ([]byte, error) {
	if r.Files != nil {
		ctx = service.WithFiles(ctx, r.Files)
	}
	const stream = 1
	switch r.Op {
	case abi.OpHello:
		return plugin.conn.Hello(ctx)
	case abi.OpGetBlob:
		request, err := withNumber(r.Request, "sink", stream)
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		counted := &counter{to: sum}
		envelope, err := plugin.conn.Call(ctx, r.Op, request, abi.Streams{stream: counted})
		if counted.n > 0 {
			result.Blob = sdk.Blob{Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))), Size: counted.n}
		}
		return envelope, err
	case abi.OpPutBlob:
		if r.Body == nil {
			return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: "put-blob needs the blob's content"}
		}
		request, err := withNumber(r.Request, "source", stream)
		if err != nil {
			return nil, err
		}
		return plugin.conn.Call(ctx, r.Op, request, abi.Streams{stream: r.Body})
	}
	return plugin.conn.Call(ctx, r.Op, r.Request, nil)
}

// withNumber adds a field to the JSON object of a request.
func withNumber(request []byte, field string, value int) ([]byte, error) {
	text := strings.TrimSpace(string(request))
	if !strings.HasPrefix(text, "{") {
		return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: "the request is no JSON object"}
	}
	rest := strings.TrimSpace(text[1:])
	if rest != "}" {
		rest = "," + rest
	}
	return fmt.Appendf(nil, `{"%s":%d%s`, field, value, rest), nil
}

type counter struct {
	to io.Writer
	n  int64
}

// Write counts and passes on.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// traced tells of what passes through.
type traced struct {
	transport.Services
	tell func(HostCall)
}

// Do asks, and tells.
func (t *traced) Do(ctx context.Context, op abi.HostOp, request []byte) []byte {
	start := time.Now()
	envelope := t.Services.Do(ctx, op, request)
	if t.tell != nil {
		_, err := abi.Result(envelope)
		t.tell(HostCall{Op: hostOpName(op), Request: request, Took: time.Since(start), Answer: len(envelope), Err: err})
	}
	return envelope
}

// watchMemory looks at the memory of instances until it is asked what the most was.
func watchMemory() func() int64 {
	done := make(chan struct{})
	var most int64
	var wg sync.WaitGroup
	look := func() {
		if n, err := guestMemory(); err == nil {
			most = max(most, n)
		}
	}
	wg.Go(func() {
		every := time.NewTicker(2 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				look()
			case <-done:
				look()
				return
			}
		}
	})
	return sync.OnceValue(func() int64 {
		close(done)
		wg.Wait()
		return most
	})
}

// directory is a directory as the build context; the stage is empty.
type directory struct{ root *os.Root }

// Directory gives the files below a directory to an instruction handler, as the build context. Nothing outside is reached.
func Directory(root *os.Root) sdk.FileSystem { return directory{root} }

func (d directory) open(root sdk.Root, name string) (*os.File, os.FileInfo, error) {
	if root != sdk.RootContext {
		return nil, nil, noFiles{}.missing(name)
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		name = "."
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which does not wait for a FIFO's writer
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, noFiles{}.missing(name)
	}
	if err != nil {
		return nil, nil, &sdk.Error{Code: sdk.CodeInvalid, Message: err.Error()}
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf("%q is neither a file nor a directory", name)}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// ReadFile returns a file.
func (d directory) ReadFile(_ context.Context, root sdk.Root, name string) (_ []byte, err error) {
	f, info, err := d.open(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const most = 16 << 20
	if info.IsDir() || info.Size() > most {
		return nil, &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf("%q is a directory, or has more than 16 MiB", name)}
	}
	return io.ReadAll(f)
}

// Stat describes a file.
func (d directory) Stat(_ context.Context, root sdk.Root, name string) (sdk.FileInfo, error) {
	f, info, err := d.open(root, name)
	if err != nil {
		return sdk.FileInfo{}, err
	}
	return describe(info), f.Close()
}

// ReadDir lists a directory.
func (d directory) ReadDir(_ context.Context, root sdk.Root, name string) (_ []sdk.FileInfo, err error) {
	f, _, err := d.open(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) // sorted
	if err != nil {
		return nil, err
	}
	var infos []sdk.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		infos = append(infos, describe(info))
	}
	return infos, nil
}

func describe(info os.FileInfo) sdk.FileInfo {
	described := sdk.FileInfo{Name: info.Name(), Mode: info.Mode()}
	if info.Mode().IsRegular() {
		described.Size = info.Size()
	}
	return described
}
