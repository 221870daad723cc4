package buildcontext

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// TestChanged changes a file after it was indexed, and while it is read.
func TestChanged(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 100_000)
	for name, change := range map[string]func(file string) error{
		"shrunk":       func(f string) error { return os.Truncate(f, 10) },
		"grown":        func(f string) error { return os.Truncate(f, 2_000_000) },
		"grown, dated": func(f string) error { return keepingTime(f, func() error { return os.Truncate(f, 2_000_000) }) },
		"written":      func(f string) error { return os.WriteFile(f, []byte(strings.ToUpper(long)[:1_000_000]), 0o644) },
		"deleted":      os.Remove,
		"replaced":     func(f string) error { return keepingTime(f, func() error { return sameLooks(f, long) }) },
		"now a fifo":   func(f string) error { return replace(f, func() error { return unix.Mkfifo(f, 0o644) }) },
		"now a link":   func(f string) error { return replace(f, func() error { return os.Symlink("/etc/passwd", f) }) },
		"now a device": func(f string) error { return replace(f, func() error { return unix.Mknod(f, unix.S_IFCHR|0o644, 0) }) },
		"now a socket": func(f string) error { return replace(f, func() error { return unix.Mknod(f, unix.S_IFSOCK|0o644, 0) }) },
		"now a folder": func(f string) error { return replace(f, func() error { return os.Mkdir(f, 0o755) }) },
		"folder is link": func(f string) error {
			d := filepath.Dir(f)
			return replace(d, func() error { return os.Symlink("/etc", d) })
		},
		"folder is file": func(f string) error {
			d := filepath.Dir(f)
			return replace(d, func() error { return os.WriteFile(d, nil, 0o644) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"a/b": long})
			c := open(t, dir, Options{})
			file := filepath.Join(dir, "a/b")
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
			n, _ := mustTree(t, c, "a").Lookup("a/b")
			source, ref := n.Source("a/b")
			if text, err := content(t.Context(), source, ref); err != nil || text != long {
				t.Fatalf("%d bytes, %v", len(text), err)
			}
			f, err := source.Open(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, f, 1000); err != nil {
				t.Fatal(err)
			}
			if err := change(file); err != nil {
				t.Fatal(err)
			}
			if _, err := content(t.Context(), source, ref); !errors.Is(err, errChanged) || !strings.Contains(err.Error(), `"a/b" changed while it was read`) {
				t.Errorf("opened later: error %v", err)
			}
			// What was opened before stays readable unless its own content changed.
			n2, err := io.Copy(io.Discard, f)
			switch name {
			case "shrunk", "grown", "grown, dated", "written":
				if !errors.Is(err, errChanged) {
					t.Errorf("opened before: %d bytes, error %v", n2, err)
				}
			default:
				if err != nil || n2 != int64(len(long))-1000 {
					t.Errorf("opened before: %d bytes, error %v", n2, err)
				}
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func replace(p string, with func() error) error { return errors.Join(os.RemoveAll(p), with()) }

// keepingTime changes a file and gives it its old time back.
func keepingTime(f string, change func() error) error {
	st, err := os.Stat(f)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return os.Chtimes(f, st.ModTime(), st.ModTime())
}

// sameLooks replaces a file by another with the same content.
func sameLooks(f, text string) error {
	return errors.Join(os.WriteFile(f+".new", []byte(text), 0o644), os.Rename(f+".new", f))
}

func TestOpenStepwise(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"a/b/c": "x", "l -> a": "", "a/l -> b/c": ""})
	c := open(t, dir, Options{})
	for p, want := range map[string]error{"a/b/c": nil, "": nil, "a": nil, "l/b": unix.ENOTDIR, "a/l": unix.ELOOP, "a/x/c": unix.ENOENT, "a/b/c/d": unix.ENOTDIR} {
		if p == "" {
			p = "."
		}
		fd, err := c.root.openStepwise(p, unix.O_RDONLY)
		if !errors.Is(err, want) {
			t.Errorf("%q: error %v, want %v", p, err, want)
		}
		if err == nil {
			if err := unix.Close(fd); err != nil {
				t.Error(err)
			}
		}
	}
}

// counting counts how often files are opened.
type counting struct {
	filetree.Source

	mu    sync.Mutex
	opens map[string]int
}

func (c *counting) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	c.mu.Lock()
	c.opens[ref.Path]++
	c.mu.Unlock()
	return c.Source.Open(ctx, ref)
}

func changesOf(t testing.TB, tree *filetree.Tree) []filetree.Change {
	t.Helper()
	var changes []filetree.Change
	err := tree.Walk("", func(p string, n *filetree.Node) (bool, error) {
		c := filetree.Change{Entry: n.Entry(p)}
		c.Source, c.From = n.Source(p)
		changes = append(changes, c)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

func TestDigests(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"a": "hello", "b/c": "world", "empty": "", "l -> a": ""})
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "h")); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, Options{})
	changes := changesOf(t, mustTree(t, c, "."))
	if err := c.Digests(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	for _, x := range changes {
		want := map[string]string{"a": "hello", "b/c": "world", "h": "hello", "empty": ""}
		text, regular := want[x.Path]
		if regular && x.Digest != filetree.Digest(sha256.Sum256([]byte(text))) {
			t.Errorf("%q: %s", x.Path, x.Digest)
		}
		if regular != x.Digest.Known() || x.Source != nil && x.From.Digest != x.Digest {
			t.Errorf("%q: %s, %s", x.Path, x.Digest, x.From.Digest)
		}
	}
	// Once read, a file is not opened again: its digest is known although it is gone.
	again := changesOf(t, mustTree(t, c, "."))
	if err := os.Remove(filepath.Join(dir, "b/c")); err != nil {
		t.Fatal(err)
	}
	if err := c.Digests(t.Context(), again); err != nil {
		t.Error(err)
	}
	// Nor is it mistaken for what has its name later.
	if err := os.WriteFile(filepath.Join(dir, "b/c"), []byte("WORLD"), 0o644); err != nil {
		t.Fatal(err)
	}
	later := changesOf(t, mustTree(t, c, "b/c"))
	if err := c.Digests(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	if got := later[len(later)-1].Digest; got != filetree.Digest(sha256.Sum256([]byte("WORLD"))) {
		t.Errorf("digest %s of a file that was replaced", got)
	}
	// Files of other sources are hashed too.
	i := slices.IndexFunc(again, func(x filetree.Change) bool { return x.Path == "a" })
	other := &counting{Source: again[i].Source, opens: map[string]int{}}
	foreign := []filetree.Change{again[i]}
	foreign[0].Source, foreign[0].Digest, foreign[0].From.Digest = other, filetree.Digest{}, filetree.Digest{}
	if err := c.Digests(t.Context(), foreign); err != nil || foreign[0].Digest != again[i].Digest || other.opens["a"] != 1 {
		t.Errorf("%v, %s, %v", err, foreign[0].Digest, other.opens)
	}
}

func TestDigestsConcurrently(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 200 {
		files["d/"+string(rune('a'+i%26))+strings.Repeat("x", i/26)] = strings.Repeat("y", i)
	}
	c := open(t, write(t, files), Options{})
	tree := mustTree(t, c, ".")
	cancelled, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ctx := t.Context()
			if i == 0 {
				ctx = cancelled
				cancel()
			}
			if err := c.Digests(ctx, changesOf(t, tree)); err != nil && i != 0 {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestClosed(t *testing.T) {
	t.Parallel()
	c := open(t, write(t, map[string]string{"a": "x"}), Options{})
	n, _ := mustTree(t, c, "a").Lookup("a")
	source, ref := n.Source("a")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Open(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "the build context is closed") {
		t.Errorf("error %v", err)
	}
}
