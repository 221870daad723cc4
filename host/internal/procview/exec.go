//go:build amd64

package procview

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// program is what a process becomes by way of the stand-in.
type program struct {
	path string // "" if it has none any more
	fd   int
}

// maxPending is how many processes can be between the two calls.
const maxPending = 256

// exec answers who runs a program by its path in /proc.
func (w *worker) exec(r *notify.Request, at place) {
	w.memories.drop(r.TID)
	id, err := w.act(r)
	if err != nil {
		w.fail(r, err)
		return
	}
	literal, ok := onDisk(string(w.pathOf()))
	if !ok || at.kind == entry && !at.magic || at.kind == mounts {
		w.listener.Fail(r, unix.EACCES)
		return
	}
	p, err := w.openProgram(at)
	if err != nil {
		w.fail(r, err)
		return
	}
	if err = w.asOurselves(); err == nil {
		err = placeStandIn(literal)
	}
	if err != nil || !w.promise(id.tgid, p) {
		closeFD(p.fd)
		w.listener.Fail(r, unix.EAGAIN)
		return
	}
	w.listener.Continue(r)
}

// pathOf is the path that was read last, whose end is in the buffer too.
func (w *worker) pathOf() []byte {
	text := w.path[:]
	return text[:strings.IndexByte(string(text), 0)]
}

// onDisk says where the kernel comes to by a path that a program is run by.
func onDisk(path string) (string, bool) {
	if rest, ok := strings.CutPrefix(path, "/dev/fd/"); ok {
		path = "/proc/self/fd/" + rest
	}
	return path, strings.HasPrefix(path, "/proc/") && !strings.Contains(path, "..") && !strings.HasSuffix(path, "/")
}

// openProgram opens what the caller may run.
func (w *worker) openProgram(at place) (*program, error) {
	dir, path := w.where(at)
	if err := unix.Faccessat2(dir, path, unix.X_OK, unix.AT_EACCESS); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st, named unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		closeFD(fd)
		return nil, unix.EACCES
	}
	name, err := w.linkOf(fmt.Sprintf("self/fd/%d", fd))
	if err != nil || unix.Stat(name, &named) != nil || named.Dev != st.Dev || named.Ino != st.Ino {
		name = ""
	}
	return &program{path: name, fd: fd}, nil
}

// promise remembers what a process will ask for.
func (s *server) promise(tgid int, p *program) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.pending[tgid]; old != nil {
		closeFD(old.fd)
	} else if len(s.pending) >= maxPending {
		return false
	}
	s.pending[tgid] = p
	return true
}

// pendingOf is the program that the caller, which is the stand-in now, wants to become, if it asks for its own.
func (w *worker) pendingOf(tgid int, at place) *program {
	if at.kind != entry || at.path != fmt.Sprintf("%d/exe", tgid) {
		return nil
	}
	w.mu.Lock()
	p := w.pending[tgid]
	w.mu.Unlock()
	if p == nil {
		return nil
	}
	// Else the call failed that was to start the stand-in, or it has done its work.
	if exe, err := w.linkOf(at.path); err != nil || !strings.HasPrefix(exe, "/proc/") {
		return nil
	}
	return p
}

// forget lets go of promises to processes that have become what they were promised.
func (s *server) forget(tgid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pending[tgid]; p != nil {
		closeFD(p.fd)
		delete(s.pending, tgid)
	}
}

// passExec looks at a program before its process becomes it.
func (w *worker) passExec(r *notify.Request, path []byte) {
	w.memories.drop(r.TID)
	w.mu.Lock()
	waiting := len(w.pending) > 0
	w.mu.Unlock()
	if waiting {
		if id, err := w.identify(r); err == nil {
			w.forget(id.tgid)
		}
	}
	if w.asOurselves() == nil {
		w.noteElevation(r, path)
	}
}

// noteElevation tells the user that a program will not get the rights that its file gives: under no_new_privs it never does.
func (w *worker) noteElevation(r *notify.Request, path []byte) {
	name := string(path)
	if !strings.HasPrefix(name, "/") {
		return // the shells look programs up in PATH; a relative one is the step's own
	}
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return
	}
	var what string
	switch {
	case st.Mode&unix.S_ISUID != 0:
		what = fmt.Sprintf("the rights of user %d (set-user-ID)", st.Uid)
	case st.Mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP:
		what = fmt.Sprintf("the rights of group %d (set-group-ID)", st.Gid)
	case hasCapabilities(name):
		what = "capabilities"
	default:
		return
	}
	id, err := w.identify(r)
	if err != nil || id.uid == 0 || st.Mode&unix.S_ISUID != 0 && id.uid == st.Uid {
		return
	}
	w.noteOnce(fmt.Sprintf("%q was run by user %d and did not get %s that its file gives: nothing can elevate itself in this rung; "+
		"run it as root, or use another rung", name, id.uid, what))
}

func hasCapabilities(name string) bool {
	n, err := unix.Lgetxattr(name, "security.capability", nil)
	return err == nil && n > 0
}
