package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/internal/registry"
)

// state is how far a blob is.
type state int

const (
	growing state = iota
	complete
	failed
)

// Blob is content of a [Store]. It may be growing: then reading waits for what is not yet written. It is safe for
// concurrent use.
type Blob struct {
	mu      sync.Mutex
	path    string
	size    int64 // what can be read
	state   state
	digest  digest.Digest
	err     error         // why the blob failed
	changed chan struct{} // closed at the next change; nil unless somebody waits for one
}

// Open opens the bytes from an offset on. A Read at the end of a growing blob waits for more, and fails once ctx is done
// or the blob's writer was aborted.
func (b *Blob) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == failed {
		return nil, b.err
	}
	if offset < 0 || b.state == complete && offset > b.size {
		return nil, fmt.Errorf("read blob %q from offset %d: it has %d bytes", b.digest, offset, b.size)
	}
	// Under the lock, for a finished blob moves to another name.
	f, err := os.Open(b.path)
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	return &reader{ctx: ctx, blob: b, file: f, offset: offset}, nil
}

// Descriptor returns digest and size, and waits until they are known. It has no media type.
func (b *Blob) Descriptor(ctx context.Context) (ocispec.Descriptor, error) {
	d, size, err := b.Wait(ctx)
	return ocispec.Descriptor{Digest: d, Size: size}, err
}

// Wait waits until the blob is complete and returns its digest and size.
func (b *Blob) Wait(ctx context.Context) (digest.Digest, int64, error) {
	for {
		b.mu.Lock()
		s, d, size, err, changed := b.state, b.digest, b.size, b.err, b.wait()
		b.mu.Unlock()
		if s == complete {
			return d, size, nil
		}
		if s == failed {
			return "", 0, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", 0, context.Cause(ctx)
		}
	}
}

// Written returns how many bytes can be read without waiting, and whether that is all.
func (b *Blob) Written() (int64, registry.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == complete {
		return b.size, registry.Complete
	}
	return b.size, registry.Growing
}

// File is the path of the file that holds a complete blob, and empty for any other. The file must not be written to.
func (b *Blob) File() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != complete {
		return ""
	}
	return b.path
}

// wait returns a channel that is closed when the blob changes. b.mu is held.
func (b *Blob) wait() <-chan struct{} {
	if b.state != growing {
		return nil
	}
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed
}

// wake tells those who wait. b.mu is held.
func (b *Blob) wake() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

func (b *Blob) grow(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.size += int64(n)
	b.wake()
}

// move renames the file of a growing blob and completes it.
func (b *Blob) move(from, to string, d digest.Digest) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == failed {
		return b.err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	b.complete(to, d)
	return nil
}

// finish completes a growing blob whose bytes are in another file too.
func (b *Blob) finish(path string, d digest.Digest) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == failed {
		return b.err
	}
	b.complete(path, d)
	return nil
}

// complete ends the growth. b.mu is held.
func (b *Blob) complete(path string, d digest.Digest) {
	b.path, b.digest, b.state = path, d, complete
	b.wake()
}

// fail ends a growing blob with an error.
func (b *Blob) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == growing {
		b.state, b.err = failed, err
		b.wake()
	}
}

// failure is why the blob failed, if it did.
func (b *Blob) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// reader follows a blob. It holds a context because io.Reader has no place for one.
type reader struct {
	ctx    context.Context //nolint:containedctx // see above
	blob   *Blob
	file   *os.File
	offset int64
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	available, err := r.await()
	if err != nil {
		return 0, err
	}
	n, err := r.file.ReadAt(p[:min(int64(len(p)), available)], r.offset)
	r.offset += int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if n == 0 {
			err = fmt.Errorf("read blob: its file was truncated at %d: %w", r.offset, io.ErrUnexpectedEOF)
		}
	}
	return n, err
}

// await waits until there are bytes to read, and returns how many.
func (r *reader) await() (int64, error) {
	for {
		b := r.blob
		b.mu.Lock()
		s, size, err, changed := b.state, b.size, b.err, b.wait()
		b.mu.Unlock()
		switch {
		case r.ctx.Err() != nil:
			return 0, context.Cause(r.ctx)
		case s == failed:
			return 0, err
		case r.offset < size:
			return size - r.offset, nil
		case s == complete:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
		}
	}
}

func (r *reader) Close() error { return r.file.Close() }

var _ registry.Blob = (*Blob)(nil)
