package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/sdk"
)

// sourceError is a fault of what is uploaded, which no other attempt mends.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return "read the content: " + e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// openFile opens what is offered as a file. Its digest is vouched for; its length is looked at.
func openFile(blob sdk.Blob, name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &sourceError{err}
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%q is no regular file", name)
	case info.Size() != blob.Size:
		err = fmt.Errorf("%w: %q has %d bytes instead of %d", ErrMismatch, name, info.Size(), blob.Size)
	}
	if err != nil {
		return nil, &sourceError{errors.Join(err, f.Close())}
	}
	return f, nil
}

// stream is content that is read from its start. Its last bytes are given only when the digest of all is right, so that no
// server ever has the whole of a wrong blob. It can be opened anew at an offset that a part begins at. It is for one
// goroutine.
type stream struct {
	blob    sdk.Blob
	content sdk.Content
	ctx     context.Context //nolint:containedctx // that of the Put

	in     io.ReadCloser
	verify *verifier
	at     *verifier // as it was where the present part begins
	right  bool      // the whole was read and is the blob
	err    error
}

// newStream demands content that can be opened.
func newStream(ctx context.Context, blob sdk.Blob, content sdk.Content) (*stream, error) {
	v, err := newVerifier(blob)
	if err != nil {
		return nil, err
	}
	if content.Open == nil {
		return nil, invalid("the content of a blob has neither Open nor File")
	}
	return &stream{blob: blob, content: content, ctx: ctx, verify: v, at: v.clone()}, nil
}

// mark notes that a part begins here.
func (s *stream) mark() { s.at = s.verify.clone() }

// rewind goes back to where the present part begins. The bytes before it are read again, but not hashed.
func (s *stream) rewind() error {
	if s.verify.n == s.at.n && s.err == nil {
		return nil
	}
	if err := s.Close(); err != nil {
		return &sourceError{err}
	}
	s.verify, s.right, s.err = s.at.clone(), false, nil
	if err := s.open(); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, s.in, s.at.n); err != nil {
		return s.fail(noEOF(err))
	}
	return nil
}

// restart goes back to the start of the content.
func (s *stream) restart() error {
	v, err := newVerifier(s.blob)
	if err != nil {
		return err
	}
	s.at = v
	return s.rewind()
}

func (s *stream) open() error {
	if s.in != nil {
		return nil
	}
	in, err := s.content.Open(s.ctx)
	if err != nil {
		return s.fail(err)
	}
	s.in = in
	return nil
}

func (s *stream) fail(err error) error {
	s.err = &sourceError{err}
	return s.err
}

// Read reads on. What comes with the last bytes of the blob is looked at before they are given.
func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.right {
		return 0, io.EOF
	}
	if s.ctx.Err() != nil {
		return 0, s.fail(context.Cause(s.ctx))
	}
	if err := s.open(); err != nil {
		return 0, err
	}
	n := 0
	if left := s.blob.Size - s.verify.n; left > 0 {
		var err error
		n, err = s.in.Read(p[:min(int64(len(p)), left)])
		_, _ = s.verify.Write(p[:n])
		if errors.Is(err, io.EOF) {
			err = s.verify.verdict()
		}
		if err != nil {
			return 0, s.fail(err)
		}
	}
	if s.verify.n < s.blob.Size {
		return n, nil
	}
	if err := s.end(); err != nil {
		return 0, s.fail(err)
	}
	s.right = true
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// end says what is wrong with the content when as many bytes as the blob has were read: one more would be too many.
func (s *stream) end() error {
	var more [1]byte
	switch n, err := io.ReadFull(s.in, more[:]); {
	case n > 0:
		return fmt.Errorf("%w: more than its %d bytes", ErrMismatch, s.blob.Size)
	case err != io.EOF:
		return err
	}
	return s.verify.verdict()
}

// Close closes what was opened.
func (s *stream) Close() error {
	if s.in == nil {
		return nil
	}
	in := s.in
	s.in = nil
	return in.Close()
}

// body is what a request sends. The client may read it after the request has failed: once it is closed, nothing is read.
type body struct {
	deadline *deadline
	length   int64

	mu sync.Mutex

	in     io.Reader
	closed bool
	failed error // of the source
}

// Read reads from the source, whose own slowness is none of the server's.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	b.deadline.stop()
	defer b.deadline.start()
	n, err := b.in.Read(p[:min(int64(len(p)), b.length)])
	b.length -= int64(n)
	switch {
	case b.length == 0:
		return n, io.EOF
	case err != nil:
		b.failed = &sourceError{noEOF(err)}
		return n, b.failed
	}
	return n, nil
}

// Close waits for a read in progress.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// fault closes the body and says whether its source failed.
func (b *body) fault() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.failed
}
