package wasm

import (
	"bytes"
	"context"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// session is one entry into a module: what it is asked, what it answers, and what it can reach meanwhile.
type session struct {
	op       abi.Op
	request  []byte
	answer   []byte
	reply    []byte // of the last operation of the host
	streams  map[uint32]any
	services transport.Services
	stint    *stint // stands still while the host is at work
	// flooded says that the answer became larger than allowed.
	flooded bool
}

type sessionKey struct{}

func newSession(services transport.Services, op abi.Op, request []byte, streams abi.Streams) *session {
	s := &session{op: op, request: request, services: services}
	if len(streams) > 0 {
		s.streams = make(map[uint32]any, len(streams))
		for number, stream := range streams {
			s.streams[number] = stream
		}
	}
	return s
}

// copyOut copies from src at off into guest memory.
func copyOut(dst, src []byte, off uint32) int64 {
	if uint64(off) > uint64(len(src)) {
		return negative(unix.EINVAL)
	}
	return int64(copy(dst, src[off:]))
}

// output appends to the answer.
func (s *session) output(p []byte) int64 {
	if len(p) > abi.MaxResponse-len(s.answer) {
		s.flooded = true
		return negative(unix.EFBIG)
	}
	s.answer = append(s.answer, p...)
	return 0
}

// host performs an operation of the host. The request is copied: services may keep what they are given for longer than the
// module's memory is there.
func (s *session) host(ctx context.Context, op uint32, p []byte) int64 {
	s.reply = nil
	if len(p) > abi.MaxRequest {
		return negative(unix.EFBIG)
	}
	s.reply = s.services.Do(ctx, abi.HostOp(op), bytes.Clone(p))
	if len(s.reply) > 1<<31-1 {
		s.reply = nil
		return negative(unix.EFBIG)
	}
	return int64(len(s.reply))
}

var levels = [...]sdk.Level{sdk.LevelDebug, sdk.LevelInfo, sdk.LevelWarning, sdk.LevelError}

func (s *session) log(level uint32, p []byte) {
	s.services.Log(levels[min(level, uint32(len(levels)-1))], string(p))
}

// read reads from a stream straight into guest memory.
func (s *session) read(number uint32, p []byte) int64 {
	r, ok := s.streams[number].(io.Reader)
	if !ok {
		return negative(unix.EBADF)
	}
	const patience = 100 // reads of nothing: as bufio has it
	for range patience {
		n, err := r.Read(p)
		switch {
		case n < 0 || n > len(p):
			return negative(unix.EIO)
		case n > 0:
			return int64(n) // an error with it comes again
		case errors.Is(err, io.EOF):
			return 0
		case err != nil:
			return negative(unix.EIO)
		case len(p) == 0:
			return 0
		}
	}
	return negative(unix.EIO)
}

// write writes to a stream straight from guest memory.
func (s *session) write(number uint32, p []byte) int64 {
	w, ok := s.streams[number].(io.Writer)
	if !ok {
		return negative(unix.EBADF)
	}
	if _, err := w.Write(p); err != nil {
		return negative(unix.EIO)
	}
	return int64(len(p))
}

// splice moves bytes from one stream to another. It ends with the context between two reads.
func (s *session) splice(ctx context.Context, dst, src uint32, n int64) int64 {
	w, isWriter := s.streams[dst].(io.Writer)
	r, isReader := s.streams[src].(io.Reader)
	if !isWriter || !isReader {
		return negative(unix.EBADF)
	}
	from := io.Reader(untilDone{ctx: ctx.Err, Reader: r})
	if n >= 0 {
		from = io.LimitReader(from, n)
	}
	moved, err := io.CopyBuffer(struct{ io.Writer }{w}, from, make([]byte, 256<<10))
	if err != nil {
		return negative(unix.EIO)
	}
	return moved
}

// untilDone fails once a context is done.
type untilDone struct {
	ctx func() error
	io.Reader
}

// Read reads, if the context is not done.
func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// close ends the module's use of a stream, which remains its opener's to close.
func (s *session) close(number uint32) int64 {
	if _, ok := s.streams[number]; !ok {
		return negative(unix.EBADF)
	}
	delete(s.streams, number)
	return 0
}

func negative(e unix.Errno) int64 { return -int64(e) }
