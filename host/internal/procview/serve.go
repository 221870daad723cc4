//go:build amd64

package procview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// Config is what [Serve] needs. The process's own root must be the step's root directory by then, and the step's processes
// its descendants, of which it inherits orphans.
type Config struct {
	Listener *notify.Listener
	Proc     int // the real /proc, opened outside
	// Capabilities are all that the server has, and all that a process of the step can have.
	Capabilities uint64
	Files        []File
	// Note is told, from any goroutine, what users should know of.
	Note func(string)
}

// server is what the workers share.
type server struct {
	Config
	listener *notify.Listener
	table    map[uint32]call
	proc     int
	self     int // our own PID

	inProc atomic.Bool // whether a process's working directory was ever in /proc
	links  atomic.Pointer[map[string]string]
	mounts int            // a memory file with what /proc/self/mounts says
	info   int            // and mountinfo
	files  map[string]int // descriptors of the files in memory, by path

	fileNames map[string]bool // their last names

	mirror  sync.Mutex // held while directories of the mirror change
	removed int        // how many of them were removed

	mu      sync.Mutex
	pending map[int]*program // by process: what it wants to become by way of the agent
	noted   map[string]bool
	slow    chan struct{} // full when no further request may be handed to a thread of its own
}

// maxSlow is how many requests that may wait are answered at a time.
const maxSlow = 1024

// worker answers requests on one thread.
type worker struct {
	*server
	actor
	memories   memories
	path       [unix.PathMax + 1]byte
	second     [unix.PathMax + 1]byte
	memoryName [32]byte
	name       [64]byte
	text       [8192]byte
}

// Serve answers until no process of the step is left, or reports why it cannot. One thread answers nearly all: handing a
// request to another costs more than most answers.
func Serve(ctx context.Context, c Config) error {
	s := &server{
		Config: c, listener: c.Listener, table: calls(), proc: c.Proc, self: os.Getpid(),
		pending: map[int]*program{}, noted: map[string]bool{}, slow: make(chan struct{}, maxSlow),
	}
	s.links.Store(knownLinks())
	if err := s.makeMounts(); err != nil {
		return err
	}
	if err := s.makeMirror(); err != nil {
		return err
	}
	if err := s.makeFiles(c.Files); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- s.onThread(func(w *worker) error { return w.loop() })
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// onThread does something on a thread of its own. The goroutine must end then, and the thread with it: it has a caller's
// rights.
func (s *server) onThread(do func(*worker) error) error {
	runtime.LockOSThread()
	if err := notify.BlockSignals(); err != nil {
		return err
	}
	return do(&worker{server: s, actor: actor{own: s.Capabilities}})
}

func (w *worker) loop() error {
	if err := w.asOurselves(); err != nil {
		return err
	}
	var r notify.Request
	for {
		err := w.listener.Receive(&r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		w.handle(&r)
	}
}

// asOurselves acts with our own rights.
func (w *worker) asOurselves() error { return w.become(credentials{caps: w.own}) }

// handle answers one request.
func (w *worker) handle(r *notify.Request) {
	if r.Arch != unix.AUDIT_ARCH_X86_64 {
		w.refuseArchitecture(r)
		return
	}
	switch r.Call {
	case unix.SYS_FCHDIR:
		w.inProc.Store(true)
		w.listener.Continue(r)
		return
	case unix.SYS_DUP, unix.SYS_FCNTL:
		w.duplicate(r)
		return
	}
	c := w.table[uint32(r.Call)]
	path, err := w.readString(r, r.Args[c.path-1], &w.path)
	if err != nil { // the kernel will find so itself; or the caller lets nobody look, and sees no /proc
		w.listener.Continue(r)
		return
	}
	at := w.place(r, c, path)
	if at.kind == untouched {
		if c.pass != nil {
			c.pass(w, r, path)
		}
		w.listener.Continue(r)
		return
	}
	if at.kind == nowhere {
		w.listener.Fail(r, at.errno)
		return
	}
	c.answer(w, r, at)
}

// place says where a path leads.
func (w *worker) place(r *notify.Request, c call, path []byte) place {
	if len(path) == 0 {
		return place{}
	}
	if at, ok := w.served(r, c, path); ok {
		return at
	}
	base, mine := w.base(r, c, path)
	if !mine {
		return place{}
	}
	return w.find(r, c, base, string(path))
}

// base says where a path starts, and whether it may lead into /proc at all. Nearly all do not, so this is quick about them.
func (w *worker) base(r *notify.Request, c call, path []byte) (string, bool) {
	if path[0] == '/' {
		return "/", names(path, "/proc") || w.linked(path)
	}
	if c.dir == 0 || int32(r.Args[c.dir-1]) == unix.AT_FDCWD {
		if !w.inProc.Load() {
			return "", false
		}
		return w.directory(r, "cwd")
	}
	return w.directory(r, fmt.Sprintf("fd/%d", int32(r.Args[c.dir-1])))
}

// names says whether a path has a name, given with the slash before it.
func names(path []byte, name string) bool {
	for {
		at := bytes.Index(path, []byte(name))
		if at < 0 {
			return false
		}
		path = path[at+len(name):]
		if len(path) == 0 || path[0] == '/' {
			return true
		}
	}
}

// linked says whether a path goes through a known link, which must still be there.
func (w *worker) linked(path []byte) bool {
	for link, target := range *w.links.Load() {
		if len(path) >= len(link) && string(path[:len(link)]) == link && (len(path) == len(link) || path[len(link)] == '/') {
			n, err := unix.Readlink(link, w.text[:])
			return err == nil && string(w.text[:n]) == target
		}
	}
	return false
}

// directory names one of the caller's directories as a path, if it lies in /proc.
func (w *worker) directory(r *notify.Request, link string) (string, bool) {
	name := fmt.Sprintf("%d/%s", r.TID, link)
	path, err := w.linkOf(name)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		if err := w.look(r); err != nil {
			return "", false
		}
		path, err = w.linkOf(name)
	}
	if err != nil || !w.listener.Valid(r) {
		return "", false
	}
	return fromMirror(strings.TrimSuffix(path, " (deleted)"))
}

// find follows a path for the caller.
func (w *worker) find(r *notify.Request, c call, base, path string) place {
	l := lookup{tid: int(r.TID), follow: c.follows(r), links: *w.links.Load(), member: w.member}
	var err error
	if l.tgid, err = w.processOf(r); err != nil {
		return place{}
	}
	return l.resolve(base, path)
}

// processOf is the process of the calling thread.
func (w *worker) processOf(r *notify.Request) (int, error) {
	id, err := w.identify(r)
	return id.tgid, err
}

// slowly answers in a thread of its own what may have to wait.
func (w *worker) slowly(r *notify.Request, answer func(*worker, *notify.Request)) {
	select {
	case w.slow <- struct{}{}:
	default:
		w.listener.Fail(r, unix.EAGAIN)
		return
	}
	request, s := *r, w.server
	go func() {
		defer func() { <-s.slow }()
		err := s.onThread(func(w *worker) error {
			defer w.memories.close()
			answer(w, &request)
			return nil
		})
		if err != nil {
			s.listener.Fail(&request, unix.EAGAIN)
		}
	}()
}

// fail answers with an error that a call of ours got.
func (w *worker) fail(r *notify.Request, err error) {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		w.listener.Fail(r, errno)
		return
	}
	w.listener.Fail(r, unix.EACCES)
}

// noteOnce tells the user once.
func (s *server) noteOnce(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noted[text] || len(s.noted) >= maxNotes {
		return
	}
	s.noted[text] = true
	s.Note(text)
}

// maxNotes keeps a hostile step from filling the log.
const maxNotes = 16

// refuseArchitecture ends a program whose system calls have other numbers.
func (w *worker) refuseArchitecture(r *notify.Request) {
	if exe, err := w.linkOf(fmt.Sprintf("%d/exe", r.TID)); err == nil && w.listener.Valid(r) {
		w.noteOnce(fmt.Sprintf("%q was ended: it makes system calls of another architecture, and only those of amd64 are served", exe))
	}
	if w.listener.Valid(r) {
		_ = unix.Kill(int(r.TID), unix.SIGSYS)
	}
	w.listener.Fail(r, unix.ENOSYS)
}
