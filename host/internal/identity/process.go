package identity

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// people knows which process has which identities. A process that it does not know has its parent's, as after fork(2).
type people struct {
	proc  *os.File
	known map[uint32]person // by process ID
	// others is set once a process is anybody but root: until then nobody needs to be looked up.
	others bool
}

// person is a process. The kernel gives its number to another when it is gone, but not with the same start.
type person struct {
	started uint64
	ids     identities
}

func (p *people) start(pid uint32, ids identities) error {
	st, err := p.stat(pid)
	if err != nil {
		return err
	}
	p.known[pid] = person{st.started, ids}
	p.others = true
	return nil
}

// of are the identities of the process that a thread belongs to.
func (p *people) of(tid uint32) (identities, error) {
	if !p.others {
		return identities{}, nil
	}
	pid, err := p.process(tid)
	if err != nil {
		return identities{}, err
	}
	return p.lookUp(pid, 0)
}

// maxDepth bounds the way to a process's ancestors, which the kernel keeps free of circles.
const maxDepth = 1000

func (p *people) lookUp(pid uint32, depth int) (identities, error) {
	st, err := p.stat(pid)
	if err != nil {
		return identities{}, err
	}
	if known, ok := p.known[pid]; ok && known.started == st.started {
		return known.ids, nil
	}
	var ids identities
	if st.parent > 1 && depth < maxDepth {
		if ids, err = p.lookUp(st.parent, depth+1); err != nil {
			ids = identities{} // the parent is gone
		}
	}
	p.known[pid] = person{st.started, ids}
	return ids, nil
}

// become gives a process other identities.
func (p *people) become(tid uint32, change func(identities) (identities, unix.Errno)) unix.Errno {
	pid, err := p.process(tid)
	if err != nil {
		return unix.ESRCH
	}
	ids := identities{}
	if p.others {
		if ids, err = p.lookUp(pid, 0); err != nil {
			return unix.ESRCH
		}
	}
	ids, errno := change(ids)
	if errno != 0 || !p.others && ids.root() {
		return errno
	}
	if err := p.start(pid, ids); err != nil {
		return unix.ESRCH
	}
	return 0
}

// process is the process that a thread belongs to.
func (p *people) process(tid uint32) (uint32, error) {
	status, err := p.read(tid, "status")
	if err != nil {
		return 0, err
	}
	return number32(status, "\nTgid:\t", 10)
}

// umask is that of a thread.
func (p *people) umask(tid uint32) (uint32, error) {
	status, err := p.read(tid, "status")
	if err != nil {
		return 0, err
	}
	return number32(status, "\nUmask:\t", 8)
}

func number32(status []byte, label string, base int) (uint32, error) {
	_, rest, ok := bytes.Cut(status, []byte(label))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), base, 32)
	if !ok || err != nil {
		return 0, fmt.Errorf("read a process's status: no %q", label[1:])
	}
	return uint32(n), nil
}

type processStat struct {
	parent  uint32
	started uint64 // in clock ticks since the machine's start
}

// stat reads the fourth and the twenty-second field of proc_pid_stat(5).
func (p *people) stat(pid uint32) (processStat, error) {
	text, err := p.read(pid, "stat")
	if err != nil {
		return processStat{}, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return processStat{}, fmt.Errorf("read a process's stat: %d fields", len(fields))
	}
	parent, err := strconv.ParseUint(string(fields[1]), 10, 32)
	if err != nil {
		return processStat{}, fmt.Errorf("read a process's stat: %w", err)
	}
	started, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return processStat{}, fmt.Errorf("read a process's stat: %w", err)
	}
	return processStat{uint32(parent), started}, nil
}

func (p *people) read(pid uint32, name string) ([]byte, error) {
	fd, err := unix.Openat(int(p.proc.Fd()), fmt.Sprintf("%d/%s", pid, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s of process %d: %w", name, pid, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 64<<10))
}
