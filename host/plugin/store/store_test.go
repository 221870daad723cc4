package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "made", "later"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	s := open(t)
	content := []byte("a plugin")
	if _, err := s.Read(digest.FromBytes(content), 100); !errors.Is(err, ErrNotFound) {
		t.Errorf("Read of an empty store = %v", err)
	}
	if _, err := os.Stat(s.Dir()); err == nil {
		t.Error("looking made the directory")
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if d, err := s.Write(t.Context(), content); err != nil || d != digest.FromBytes(content) {
				t.Errorf("Write = %s, %v", d, err)
			}
		})
	}
	all.Wait()
	got, err := s.Read(digest.FromBytes(content), int64(len(content)))
	if err != nil || string(got) != string(content) {
		t.Errorf("Read = %q, %v", got, err)
	}
	for _, dir := range []string{"", "blobs", "blobs/sha256"} {
		if info, err := os.Stat(filepath.Join(s.Dir(), dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%q has mode %v, %v", dir, info.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir(), "blobs/sha256/.new-*")); left != nil {
		t.Errorf("left: %q", left)
	}
	if _, err := s.Read(digest.FromBytes(content), 3); !errors.Is(err, ErrWrongContent) {
		t.Errorf("Read of too much = %v", err)
	}
	for _, bad := range []digest.Digest{"", "sha256:../../etc", "sha512:" + digest.Digest(strings.Repeat("a", 128)), "md5:00"} {
		if _, err := s.Read(bad, 100); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("Read(%q) = %v", bad, err)
		}
	}
}

// TestTampered puts other things in the place of a blob. None is given out, and writing it again heals.
func TestTampered(t *testing.T) {
	t.Parallel()
	content := []byte("a plugin")
	want := digest.FromBytes(content)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(string) error{
		"other bytes":      func(n string) error { return os.WriteFile(n, []byte("a blugin"), 0o600) },
		"fewer":            func(n string) error { return os.Truncate(n, 3) },
		"none":             func(n string) error { return os.Truncate(n, 0) },
		"a FIFO":           func(n string) error { return errors.Join(os.Remove(n), syscall.Mkfifo(n, 0o600)) },
		"a link elsewhere": func(n string) error { return errors.Join(os.Remove(n), os.Symlink(outside, n)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if _, err := s.Write(t.Context(), content); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(s.Dir(), "blobs/sha256", want.Encoded())
			if err := put(file); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Read(want, 100); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("Read = %q, %v", got, err)
			}
			if _, err := s.Write(t.Context(), content); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Read(want, 100); err != nil || string(got) != string(content) {
				t.Errorf("Read after Write = %q, %v", got, err)
			}
		})
	}
}

func TestAbout(t *testing.T) {
	t.Parallel()
	s := open(t)
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	if got, err := s.About(a); err != nil || got != nil {
		t.Errorf("About of an empty store = %v, %v", got, err)
	}
	for _, d := range []digest.Digest{c, b, c} {
		if err := s.Note(a, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), "about", a.Encoded(), "README"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := s.About(a)
	if err != nil {
		t.Fatal(err)
	}
	want := []digest.Digest{b, c}
	if b > c {
		want = []digest.Digest{c, b}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.Note(a, "sha256:../x"); err == nil {
		t.Error("Note takes a bad digest")
	}
}
