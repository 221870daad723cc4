package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// memoryBlob is a blob that grows as a test says.
type memoryBlob struct {
	mu      sync.Mutex
	content []byte
	state   State
	failure error
	changed chan struct{} // closed and replaced with every change
	opened  []int64       // the offsets that were opened
}

func completeBlob(content []byte) *memoryBlob {
	return &memoryBlob{content: content, state: Complete, changed: make(chan struct{})}
}

func growingBlob(content []byte) *memoryBlob {
	return &memoryBlob{content: bytes.Clone(content), changed: make(chan struct{})}
}

func (b *memoryBlob) change(do func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	do()
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *memoryBlob) grow(more []byte) { b.change(func() { b.content = append(b.content, more...) }) }

func (b *memoryBlob) complete() { b.change(func() { b.state = Complete }) }

func (b *memoryBlob) fail(err error) { b.change(func() { b.failure = err }) }

func (b *memoryBlob) Written() (int64, State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.content)), b.state
}

func (b *memoryBlob) Descriptor(ctx context.Context) (ocispec.Descriptor, error) {
	for {
		b.mu.Lock()
		content, state, failure, changed := b.content, b.state, b.failure, b.changed
		b.mu.Unlock()
		switch {
		case failure != nil:
			return ocispec.Descriptor{}, failure
		case state == Complete:
			return describe(content), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ocispec.Descriptor{}, ctx.Err()
		}
	}
}

func (b *memoryBlob) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if offset > int64(len(b.content)) {
		return nil, errors.New("offset beyond the end")
	}
	b.opened = append(b.opened, offset)
	return &memoryReader{ctx: func() context.Context { return ctx }, blob: b, at: offset}, nil
}

func (b *memoryBlob) offsets() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]int64(nil), b.opened...)
}

type memoryReader struct {
	ctx  func() context.Context
	blob *memoryBlob
	at   int64
}

func (r *memoryReader) Read(p []byte) (int, error) {
	for {
		r.blob.mu.Lock()
		n := copy(p, r.blob.content[r.at:])
		state, failure, changed := r.blob.state, r.blob.failure, r.blob.changed
		r.blob.mu.Unlock()
		r.at += int64(n)
		switch {
		case n > 0:
			return n, nil
		case failure != nil:
			return 0, failure
		case state == Complete:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-r.ctx().Done():
			return 0, r.ctx().Err()
		}
	}
}

func (r *memoryReader) Close() error { return nil }
