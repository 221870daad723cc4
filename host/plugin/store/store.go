// Package store keeps installed plugins on disk: blobs by their digest, and which blobs speak about which. It trusts
// nothing that lies there: a blob is verified each time it is read.
//
//	DIR/blobs/sha256/HEX         what was pulled, byte for byte
//	DIR/about/HEX/HEX            an empty file: the second blob says something about the first, a signature say
package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opencontainers/go-digest"
)

var (
	// ErrNotFound says that the store has no such blob.
	ErrNotFound = errors.New("not installed")
	// ErrWrongContent says that a blob of the store is not what its name says.
	ErrWrongContent = errors.New("its content was changed")
)

// Store is a directory of plugins. Its methods may be called from several goroutines, and by several processes.
type Store struct{ dir string }

// Open returns the store in a directory, which is made when something is written.
func Open(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("open plugin directory: it has no name")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open plugin directory %q: %w", dir, err)
	}
	return &Store{dir: abs}, nil
}

// Dir is where the store lies.
func (s *Store) Dir() string { return s.dir }

// Read returns a blob of at most limit bytes, verified. The error is [ErrNotFound] where there is none, and
// [ErrWrongContent] where there is another.
func (s *Store) Read(want digest.Digest, limit int64) ([]byte, error) {
	name, err := blobName(want)
	if err != nil {
		return nil, err
	}
	content, err := s.read(name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read plugin %s: %w", want, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read plugin %s: %w", want, err)
	}
	if got := want.Algorithm().FromBytes(content); got != want {
		return nil, fmt.Errorf("read plugin %q: %w: its digest is %s", filepath.Join(s.dir, name), ErrWrongContent, got)
	}
	return content, nil
}

func (s *Store) read(name string, limit int64) (_ []byte, err error) {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	// A FIFO in the place of a file must not make anybody wait.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is no file", ErrWrongContent)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%w: it has %d bytes, and may have %d", ErrWrongContent, info.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// Write stores a blob in place of whatever lies under its name, and returns its digest. It is there whole or not at all.
func (s *Store) Write(ctx context.Context, content []byte) (digest.Digest, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	name := digest.FromBytes(content)
	file, err := blobName(name)
	if err != nil {
		return "", err
	}
	if err := s.write(file, content); err != nil {
		return "", fmt.Errorf("write plugin to %q: %w", s.dir, err)
	}
	return name, nil
}

func (s *Store) write(name string, content []byte) (err error) {
	root, err := s.openFor(path.Dir(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	temporary := path.Join(path.Dir(name), ".new-"+rand.Text())
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		err = errors.Join(err, root.Remove(temporary))
	}
	return err
}

// openFor opens the store and makes a directory in it. Nobody but the user may look into what is made.
func (s *Store) openFor(dir string) (*os.Root, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// Note remembers that a blob says something about another.
func (s *Store) Note(subject, blob digest.Digest) error {
	if err := errors.Join(subject.Validate(), blob.Validate()); err != nil {
		return err
	}
	if err := s.write(path.Join("about", subject.Encoded(), blob.Encoded()), nil); err != nil {
		return fmt.Errorf("write to plugin directory %q: %w", s.dir, err)
	}
	return nil
}

// About lists the blobs that say something about a blob.
func (s *Store) About(subject digest.Digest) ([]digest.Digest, error) {
	if err := subject.Validate(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "about", subject.Encoded()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read plugin directory: %w", err)
	}
	var all []digest.Digest
	for _, e := range entries {
		if d := digest.NewDigestFromEncoded(digest.SHA256, e.Name()); d.Validate() == nil {
			all = append(all, d)
		}
	}
	slices.Sort(all)
	return all, nil
}

// blobName is the file that has a blob, below the store's directory.
func blobName(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %.100q: %w", string(d), err)
	}
	if d.Algorithm() != digest.SHA256 {
		return "", fmt.Errorf("digest %q: only sha256 is used for plugins", d)
	}
	return path.Join("blobs", "sha256", strings.ToLower(d.Encoded())), nil
}
