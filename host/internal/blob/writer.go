package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"

	"github.com/opencontainers/go-digest"
)

// errAborted is why a blob fails whose writer was aborted without a reason.
var errAborted = errors.New("the writer was aborted")

// Writer writes a blob. It is for one goroutine, and ends with Commit, CommitAs or Abort; an Abort after the others does
// nothing, so that it can be deferred.
type Writer struct {
	store *Store
	file  *os.File
	hash  hash.Hash
	blob  *Blob
	stop  func() bool // ends the watch on the context
	ended bool
}

func newWriter(ctx context.Context, s *Store, f *os.File) *Writer {
	b := &Blob{path: f.Name()}
	stop := context.AfterFunc(ctx, func() { b.fail(fmt.Errorf("write blob: %w", context.Cause(ctx))) })
	return &Writer{store: s, file: f, hash: sha256.New(), blob: b, stop: stop}
}

// Blob is the growing blob.
func (w *Writer) Blob() *Blob { return w.blob }

// Write appends p. After an error the writer can only be aborted.
func (w *Writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, errors.New("write blob: it is already ended")
	}
	if err := w.blob.failure(); err != nil {
		return 0, err
	}
	n, err := w.file.Write(p)
	_, _ = w.hash.Write(p[:n]) // never fails
	w.blob.grow(n)
	if err != nil {
		err = fmt.Errorf("write blob: %w", err)
		w.blob.fail(err)
	}
	return n, err
}

// Commit ends the blob and stores it under the digest of what was written.
func (w *Writer) Commit(ctx context.Context) (*Blob, error) {
	return w.commit(ctx, w.Digest())
}

// CommitAs is Commit for content that has to have a certain digest. Other content is not stored.
func (w *Writer) CommitAs(ctx context.Context, want digest.Digest) (*Blob, error) {
	if err := check(want); err != nil {
		return nil, w.end(err)
	}
	if got := w.Digest(); got != want {
		return nil, w.end(fmt.Errorf("blob %q: its content has the digest %q", want, got))
	}
	return w.commit(ctx, want)
}

// Digest is that of what was written so far.
func (w *Writer) Digest() digest.Digest { return digest.NewDigest(digest.SHA256, w.hash) }

func (w *Writer) commit(ctx context.Context, d digest.Digest) (*Blob, error) {
	if w.ended {
		return nil, errors.New("commit blob: it is already ended")
	}
	err := w.blob.failure()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, w.end(err)
	}
	if err := w.store.publish(w.file.Name(), w.blob, d); err != nil {
		return nil, w.end(fmt.Errorf("commit blob %q: %w", d, err))
	}
	w.ended = true
	w.stop()
	if err := w.file.Close(); err != nil {
		return nil, fmt.Errorf("commit blob %q: %w", d, err)
	}
	return w.blob, nil
}

// Abort drops what was written. Readers of the blob fail with an error that wraps cause.
func (w *Writer) Abort(cause error) error {
	if w.ended {
		return nil
	}
	if cause == nil {
		cause = errAborted
	}
	w.blob.fail(fmt.Errorf("write blob: %w", cause))
	w.ended = true
	w.stop()
	if err := errors.Join(w.file.Close(), os.Remove(w.file.Name())); err != nil {
		return fmt.Errorf("abort blob: %w", err)
	}
	return nil
}

// end aborts the writer because of an error, and returns the error.
func (w *Writer) end(err error) error { return errors.Join(err, w.Abort(err)) }
