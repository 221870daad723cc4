package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/registry"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, content string) *Writer {
	t.Helper()
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	return w
}

func commit(t *testing.T, w *Writer) *Blob {
	t.Helper()
	b, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// content reads a blob from an offset on.
func content(t *testing.T, b *Blob, offset int64) string {
	t.Helper()
	r, err := b.Open(t.Context(), offset)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// files are the names of all files of a store.
func files(t *testing.T, s *Store) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestCommit(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := create(t, s, "hello ")
	if _, err := io.WriteString(w, "world"); err != nil {
		t.Fatal(err)
	}
	if size, state := w.Blob().Written(); size != 11 || state != registry.Growing || w.Blob().File() != "" {
		t.Errorf("before Commit: %d bytes, %v, file %q", size, state, w.Blob().File())
	}
	b := commit(t, w)
	if err := w.Abort(nil); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
	want := digest.FromString("hello world")
	d, err := b.Descriptor(t.Context())
	if err != nil || d.Digest != want || d.Size != 11 {
		t.Errorf("descriptor %+v, %v", d, err)
	}
	if size, state := b.Written(); size != 11 || state != registry.Complete {
		t.Errorf("%d bytes, %v", size, state)
	}
	got, err := s.Get(want)
	if err != nil || got != b {
		t.Errorf("Get: %v, %v", got, err)
	}
	if text := content(t, got, 6); text != "world" {
		t.Errorf("from 6: %q", text)
	}
	if file, err := os.ReadFile(got.File()); err != nil || string(file) != "hello world" {
		t.Errorf("file: %q, %v", file, err)
	}
	if n := len(files(t, s)); n != 1 {
		t.Errorf("%d files", n)
	}
	for _, offset := range []int64{-1, 12} {
		if _, err := b.Open(t.Context(), offset); err == nil {
			t.Errorf("opened at %d", offset)
		}
	}
}

func TestGetOfNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := s.Get(digest.FromString("x")); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	for _, d := range []digest.Digest{"", "sha256:../../etc/passwd", "sha512:" + digest.Digest(strings.Repeat("0", 128))} {
		if _, err := s.Get(d); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", d, err)
		}
	}
}

// TestReadWhileGrowing: readers get all of a blob, also those who come late or wait at its end.
func TestReadWhileGrowing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	w := create(t, s, "")
	got := make(chan string)
	for i := range 8 {
		go func() {
			r, err := w.Blob().Open(t.Context(), int64(i))
			if err != nil {
				got <- err.Error()
				return
			}
			defer r.Close()
			b, err := io.ReadAll(r)
			got <- fmt.Sprintf("%x %v", sha256.Sum256(append(bytes.Clone(want[:i]), b...)), err)
		}()
	}
	for rest := want; len(rest) > 0; rest = rest[min(len(rest), 10_000):] {
		if _, err := w.Write(rest[:min(len(rest), 10_000)]); err != nil {
			t.Fatal(err)
		}
	}
	commit(t, w)
	for range 8 {
		if g, w := <-got, fmt.Sprintf("%x <nil>", sha256.Sum256(want)); g != w {
			t.Errorf("read %s, want %s", g, w)
		}
	}
}

func TestAbort(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := create(t, s, "abc")
	r, err := w.Blob().Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cause := errors.New("disk on fire")
	failed := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, r)
		failed <- err
	}()
	go func() {
		_, err := w.Blob().Descriptor(t.Context())
		failed <- err
	}()
	if err := w.Abort(cause); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-failed; !errors.Is(err, cause) {
			t.Errorf("who waited got %v", err)
		}
	}
	if _, err := w.Blob().Open(t.Context(), 0); !errors.Is(err, cause) {
		t.Errorf("Open: %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("Write after Abort")
	}
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("Commit after Abort")
	}
	if left := files(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	w, err := s.Create(ctx)
	if err != nil {
		t.Fatal(err)
	}
	waiting, stop := context.WithCancel(t.Context())
	r, err := w.Blob().Open(waiting, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stop()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose context is done: %v", err)
	}
	cause := errors.New("gave up")
	cancel(cause)
	if _, _, err := w.Blob().Wait(t.Context()); !errors.Is(err, cause) {
		t.Errorf("Wait: %v", err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, cause) {
		t.Errorf("Write: %v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, cause) {
		t.Errorf("Commit: %v", err)
	}
	if left := files(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestSameContentTwice: there is one file, and the reader of the second writer's blob reads on.
func TestSameContentTwice(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first, second := create(t, s, "same"), create(t, s, "same")
	r, err := second.Blob().Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a, b := commit(t, first), commit(t, second)
	if got, err := io.ReadAll(r); err != nil || string(got) != "same" {
		t.Errorf("the open reader got %q, %v", got, err)
	}
	if a.File() != b.File() || content(t, b, 0) != "same" || len(files(t, s)) != 1 {
		t.Errorf("files %q and %q", a.File(), b.File())
	}
}

func TestCommitAs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if _, err := create(t, s, "x").CommitAs(t.Context(), digest.FromString("x")); err != nil {
		t.Error(err)
	}
	wrong := digest.FromString("z")
	if _, err := create(t, s, "y").CommitAs(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), wrong.String()) {
		t.Errorf("wrong digest: %v", err)
	}
	if n := len(files(t, s)); n != 1 {
		t.Errorf("%d files", n)
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AdoptFile(t.Context(), file, digest.FromString("other")); err == nil {
		t.Error("a file with another digest was adopted")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AdoptFile(t.Context(), link, digest.FromString("kept")); err == nil {
		t.Error("a symlink was adopted")
	}
	if left := files(t, s); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	b, err := s.AdoptFile(t.Context(), file, digest.FromString("kept"))
	if err != nil {
		t.Fatal(err)
	}
	if !sameFile(t, file, b.File()) {
		t.Error("the file was copied, not linked")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := content(t, b, 0); got != "kept" {
		t.Errorf("content %q", got)
	}
	again, err := s.AdoptFile(t.Context(), file, digest.FromString("kept"))
	if err != nil || again != b {
		t.Errorf("what is there was wanted anew: %v", err)
	}
	if _, err := s.Adopt(t.Context(), strings.NewReader("read"), digest.FromString("read")); err != nil {
		t.Error(err)
	}
	if _, err := s.Adopt(t.Context(), strings.NewReader("read"), digest.FromString("else")); err == nil {
		t.Error("a reader with another digest was adopted")
	}
	if n := len(files(t, s)); n != 2 {
		t.Errorf("%d files", n)
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	x, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

// TestAdoptFromOtherFileSystem: where no link is possible there is a copy.
func TestAdoptFromOtherFileSystem(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	shm, err := os.MkdirTemp("/dev/shm", "blob")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	file := filepath.Join(shm, "file")
	if err := os.WriteFile(file, []byte("far"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := s.AdoptFile(t.Context(), file, digest.FromString("far"))
	if err != nil || content(t, b, 0) != "far" {
		t.Error(err)
	}
	if sameFile(t, file, b.File()) {
		t.Error("the file was linked: the test needs two file systems")
	}
}

func TestOpenStore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	b := commit(t, create(t, s, "old"))
	create(t, s, "unfinished")
	again, err := Open(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	old, err := again.Get(digest.FromString("old"))
	if err != nil || old.File() != b.File() || content(t, old, 0) != "old" {
		t.Errorf("an earlier blob: %v", err)
	}
	if n := len(files(t, s)); n != 1 {
		t.Errorf("%d files are left", n)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(foreign); err == nil {
		t.Error("a directory with other files was opened")
	}
}
