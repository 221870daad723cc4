// Package blob is a build's working store: content under its digest, in one directory that a single build process owns.
//
// A [Blob] can be read while it is still being written, so that a layer is uploaded while it is being compressed. Nothing
// is flushed to the disk, for the store does not outlive the build; caches that do take the finished files by hard link.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// ErrNotFound says that the store does not hold a blob.
var ErrNotFound = errors.New("blob not found")

const (
	blobDir   = "sha256" // finished blobs, each named by the hexadecimal part of its digest
	ingestDir = "ingest" // what is being written
)

// Store holds blobs. It is safe for concurrent use.
type Store struct {
	dir  string
	next atomic.Uint64 // names the next file in ingestDir

	mu    sync.Mutex
	blobs map[digest.Digest]*Blob
}

// Open opens a store in dir, which is made if it does not exist, and must otherwise be empty or an earlier store. What
// an earlier process left unfinished is removed.
func Open(dir string) (*Store, error) {
	if err := open(dir); err != nil {
		return nil, fmt.Errorf("open blob store %q: %w", dir, err)
	}
	return &Store{dir: dir, blobs: map[digest.Digest]*Blob{}}, nil
}

func open(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !e.IsDir() || e.Name() != blobDir && e.Name() != ingestDir
	}) {
		return errors.New("the directory holds other files: name an empty one")
	}
	if err := os.RemoveAll(filepath.Join(dir, ingestDir)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, blobDir), 0o700); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(dir, ingestDir), 0o700)
}

// Get returns a finished blob, or an error wrapping [ErrNotFound].
func (s *Store) Get(d digest.Digest) (*Blob, error) {
	if err := check(d); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.blobs[d]; ok {
		return b, nil
	}
	info, err := os.Lstat(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %q: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("look up blob %q: %w", d, err)
	}
	b := &Blob{path: s.path(d), size: info.Size(), digest: d, state: complete}
	s.blobs[d] = b
	return b, nil
}

// Create starts a blob. Once ctx is done, what is not yet committed fails: the writer, and who reads what it wrote.
func (s *Store) Create(ctx context.Context) (*Writer, error) {
	f, err := os.OpenFile(s.ingestPath(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	return newWriter(ctx, s, f), nil
}

// publish gives the file of a written blob its place under its digest.
func (s *Store) publish(file string, b *Blob, d digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, ok := s.blobs[d]; ok {
		// The same bytes were made twice. Who reads the second file has it open, and goes on reading it.
		if err := b.finish(held.File(), d); err != nil {
			return err
		}
		return os.Remove(file)
	}
	if err := b.move(file, s.path(d), d); err != nil {
		return err
	}
	s.blobs[d] = b
	return nil
}

func (s *Store) path(d digest.Digest) string { return filepath.Join(s.dir, blobDir, d.Encoded()) }

func (s *Store) ingestPath() string {
	return filepath.Join(s.dir, ingestDir, strconv.FormatUint(s.next.Add(1), 10))
}

// check refuses digests that would not be a safe file name, or that the store does not compute.
func check(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	if d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("digest %q: only sha256 is supported", d)
	}
	return nil
}
