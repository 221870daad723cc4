package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Options say what is run, and how.
type Options struct {
	// Name is the plugin's in trowel.toml.
	Name string
	// Program or File is the plugin's program, and Digest, which is required, its SHA-256. A file is read when the plugin is
	// first used.
	Program []byte
	File    string
	Digest  sdk.Digest
	// Hello is the request of the first call.
	Hello    []byte
	Services transport.Services
	// Limits have defaults: 10 s to start, 30 s for a call, 16 calls at once. Memory is not bounded unless it is set.
	Limits transport.Limits
	// Env are the environment variables that were granted, NAME=value.
	Env []string
	// Dir is a directory of mode 0700 for the socket, outside every root file system of the build. Its path may have 70
	// bytes. Empty makes one in the directory for temporary files.
	Dir string
	// Attach is the socket of a plugin that the user started to debug it, instead of Program or File and Digest: see
	// sdk/process. Its calls have all the time that their context has.
	Attach string
}

// maxEnds is how often a plugin may end where it should not: it is started again until then.
const maxEnds = 5

// maxDir is the length of Dir: a socket's path has 107 bytes, and go-plugin and the plugin add to it.
const maxDir = 70

// Plugin is a plugin that runs as a process. It is a [transport.Transport]. It starts when it is first used.
type Plugin struct {
	o       Options
	gate    *gate
	closing sync.Once
	closed  error

	turn chan struct{} // holds a token for whoever uses what follows

	dir      string // of the sockets
	program  *program
	instance *instance
	ends     int // where it should not have ended
	lastEnd  error
}

// Open prepares a plugin. Nothing runs yet.
func Open(o Options) (*Plugin, error) {
	if o.Attach == "" {
		switch {
		case o.Digest == "":
			return nil, fmt.Errorf("open plugin %q: it has no digest to be checked against", o.Name)
		case (o.File == "") == (o.Program == nil):
			return nil, fmt.Errorf("open plugin %q: want either a file or a program", o.Name)
		}
	}
	if o.Services == nil {
		return nil, fmt.Errorf("open plugin %q: it has no services", o.Name)
	}
	if o.Dir != "" {
		dir, err := filepath.Abs(o.Dir)
		if err == nil {
			err = ownedPrivately(dir)
		}
		if err == nil && len(dir) > maxDir {
			err = fmt.Errorf("the path %q is longer than the %d bytes that leave room for a socket's name", dir, maxDir)
		}
		if err != nil {
			return nil, fmt.Errorf("open plugin %q: %w", o.Name, err)
		}
		o.Dir = dir
	}
	o.Limits = withDefaults(o.Limits)
	return &Plugin{o: o, gate: newGate(o.Limits.Instances), turn: make(chan struct{}, 1)}, nil
}

func withDefaults(l transport.Limits) transport.Limits {
	const start, timeout, instances = 10 * time.Second, 30 * time.Second, 16
	if l.Start <= 0 {
		l.Start = start
	}
	if l.Timeout <= 0 {
		l.Timeout = timeout
	}
	if l.Instances <= 0 {
		l.Instances = instances
	}
	return l
}

// Hello implements [transport.Transport].
func (p *Plugin) Hello(ctx context.Context) ([]byte, error) {
	ctx, leave, err := p.gate.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	i, err := p.running(ctx)
	if err != nil {
		return nil, err
	}
	return i.hello, nil
}

// Call implements [transport.Transport]. It returns when none of the streams is used any more; when the call's time is up,
// streams that are [io.Closer] are closed so that they do not wait. A stream that can be both read and written is read.
func (p *Plugin) Call(ctx context.Context, op abi.Op, request []byte, streams abi.Streams) ([]byte, error) {
	if len(request) > abi.MaxRequest {
		return nil, &sdk.Error{Code: sdk.CodeLimit, Message: "a request of " + fmt.Sprint(len(request)) + " bytes is too large for a plugin"}
	}
	ctx, leave, err := p.gate.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	i, err := p.running(ctx)
	if err != nil {
		return nil, err
	}
	if p.o.Attach == "" { // there somebody may look at the call in a debugger
		var stop func()
		over := timeoutError("the call took longer than", p.o.Limits.Timeout)
		over.Message += ": raise limits.timeout if it needs longer"
		ctx, streams, stop = transport.Patience(ctx, p.o.Limits.Timeout, over, streams)
		defer stop()
	}
	answer, err := i.session.call(ctx, op, request, streams)
	if err == nil {
		return answer, nil
	}
	if stuck, ok := errors.AsType[*unresponsiveError](err); ok {
		p.discard(i, stuck)
		return nil, stuck.cause
	}
	if errors.Is(err, errOver) {
		p.discard(i, nil)
		return nil, i.crashed()
	}
	return nil, err
}

// SharesFiles says that the plugin and the host see the same files.
func (p *Plugin) SharesFiles() bool { return true }

// Pause waits until no call is in progress, keeps further ones waiting, and stops the process and its children, so that they
// do nothing while something runs that must not meet them. Each Pause that succeeded needs a Resume.
func (p *Plugin) Pause(ctx context.Context) error {
	if err := p.gate.pause(ctx); err != nil {
		return err
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.instance == nil || p.instance.group == nil {
		return nil
	}
	p.instance.group.signal(syscall.SIGSTOP)
	if err := p.instance.group.suspended(ctx); err != nil {
		p.wake()
		return err
	}
	return nil
}

// Resume takes back one Pause.
func (p *Plugin) Resume() {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.wake()
}

// wake lets the process go on if nobody else has paused it. It is the caller's turn.
func (p *Plugin) wake() {
	if p.gate.paused() <= 1 && p.instance != nil && p.instance.group != nil {
		p.instance.group.signal(syscall.SIGCONT)
	}
	p.gate.resume()
}

// Close implements [transport.Transport].
func (p *Plugin) Close(ctx context.Context) error {
	p.closing.Do(func() { p.closed = p.close(ctx) })
	return p.closed
}

func (p *Plugin) close(ctx context.Context) (err error) {
	p.gate.close()
	how := asked
	if p.gate.empty(ctx) != nil {
		how = killed // calls end with it
	}
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.instance != nil {
		if p.instance.group != nil {
			p.instance.group.signal(syscall.SIGCONT)
		}
		p.instance.close(how)
		p.instance = nil
	}
	if p.program != nil {
		err = p.program.close()
	}
	if p.dir != "" && p.dir != p.o.Dir {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}

// running returns the plugin's instance, and starts one if there is none that lives.
func (p *Plugin) running(ctx context.Context) (*instance, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, causeError(ctx)
	}
	if p.instance != nil && p.instance.session.over() { // between calls
		p.instance.close(killed)
		p.ended(p.instance.crashed())
	}
	if p.instance != nil {
		return p.instance, nil
	}
	if p.ends >= maxEnds && p.o.Attach == "" {
		return nil, &sdk.Error{Code: sdk.CodeCrashed, Message: fmt.Sprintf("the plugin ended %d times and is not started again: %v", p.ends, p.lastEnd)}
	}
	i, err := p.start(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.ended(err)
		}
		return nil, err
	}
	p.instance = i
	return i, nil
}

func (p *Plugin) ended(why error) {
	p.instance = nil
	p.ends++
	p.lastEnd = why
}

// discard ends an instance that did what it should not. Other calls that it was answering fail.
func (p *Plugin) discard(i *instance, why error) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	i.close(killed)
	if p.instance == i {
		if why == nil {
			why = i.crashed()
		}
		p.ended(why)
	}
}

func (p *Plugin) start(ctx context.Context) (*instance, error) {
	if p.o.Attach != "" {
		return attach(ctx, &p.o)
	}
	if err := p.load(); err != nil {
		return nil, err
	}
	i, err := launch(ctx, &p.o, p.program, p.dir)
	if errors.Is(err, fs.ErrPermission) && p.program.dir == "" { // the machine executes nothing in memory
		stored, storeErr := loadProgram(io.NewSectionReader(p.program.file, 0, maxProgram+1), p.o.Digest, p.inDir)
		if storeErr != nil {
			return nil, errors.Join(err, storeErr)
		}
		err = p.program.close()
		p.program = stored
		if err == nil {
			i, err = launch(ctx, &p.o, p.program, p.dir)
		}
	}
	return i, err
}

// load makes the program and the directory ready, once.
func (p *Plugin) load() (err error) {
	if p.dir == "" {
		if p.dir = p.o.Dir; p.dir == "" {
			if p.dir, err = os.MkdirTemp("", "trowel-plugin-"); err != nil { // mode 0700
				return err
			}
		}
	}
	if p.program != nil {
		return nil
	}
	source, err := p.source()
	if err != nil {
		return err
	}
	defer source.Close()
	p.program, err = loadProgram(source, p.o.Digest, p.place)
	return err
}

// source opens what is to be run.
func (p *Plugin) source() (io.ReadCloser, error) {
	if p.o.File == "" {
		return io.NopCloser(bytes.NewReader(p.o.Program)), nil
	}
	file, err := os.OpenFile(p.o.File, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not make it wait
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf("%q is not a regular file", p.o.File)}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// place places a program in memory, or in a directory where the machine has no files in memory.
func (p *Plugin) place(source io.Reader) (*program, error) {
	placed, err := inMemory(source)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOSYS) {
		return p.inDir(source)
	}
	return placed, err
}

func (p *Plugin) inDir(source io.Reader) (*program, error) { return inDir(p.dir, source) }

var (
	_ transport.Transport = (*Plugin)(nil)
	_ abi.FileSharer      = (*Plugin)(nil)
)
