package filecopy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// The notation of trees and layers in these tests, a line for each path:
//
//	d a            directory      f a =text   file       l a >target   symlink
//	h a >b         hardlink       p a         FIFO       - a           whiteout
//
// followed by what is not the default: an octal mode, uid:gid, @time. Defaults are 755, 644 and 777, 0:0 and @1.

var letters = map[string]filetree.Type{
	"d": filetree.Directory, "f": filetree.Regular, "l": filetree.Symlink, "h": filetree.Hardlink,
	"p": filetree.FIFO, "-": filetree.Whiteout,
}

func defaultMode(t filetree.Type) uint16 {
	switch t {
	case filetree.Directory:
		return 0o755
	case filetree.Symlink:
		return 0o777
	case filetree.Whiteout, filetree.Hardlink:
		return 0
	}
	return 0o644
}

// memory is the source of the files of test trees.
type memory struct{ content map[string]string }

func (m *memory) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	text, ok := m.content[ref.Path]
	if !ok || int64(len(text)) != ref.Size {
		return nil, fmt.Errorf("no file %q of %d bytes", ref.Path, ref.Size)
	}
	return struct {
		io.Reader
		io.ReaderAt
		io.Closer
	}{strings.NewReader(text), strings.NewReader(text), io.NopCloser(nil)}, nil
}

// tree reads the notation.
func tree(t testing.TB, text string) *filetree.Tree {
	t.Helper()
	source := &memory{map[string]string{}}
	e := filetree.Empty().Edit()
	if err := e.Put(filetree.Entry{Type: filetree.Directory, Mode: 0o755, ModTime: 1e9}, nil, filetree.Ref{}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		x, content := parseLine(t, line)
		var from filetree.Source
		if x.Type == filetree.Regular && content != "" {
			from, source.content[x.Path] = source, content
			x.Size, x.Digest = int64(len(content)), sha256.Sum256([]byte(content))
		}
		if err := e.Put(x, from, filetree.Ref{Path: x.Path, Size: x.Size, Digest: x.Digest}); err != nil {
			t.Fatal(err)
		}
	}
	return e.Tree()
}

func parseLine(t testing.TB, line string) (x filetree.Entry, content string) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) < 2 || letters[f[0]] == 0 {
		t.Fatalf("bad line %q", line)
	}
	x = filetree.Entry{Path: filetree.Clean(f[1]), Type: letters[f[0]], ModTime: 1e9}
	x.Mode = defaultMode(x.Type)
	for _, word := range f[2:] {
		switch u, g, pair := strings.Cut(word, ":"); {
		case word[0] == '=':
			content = word[1:]
		case word[0] == '>':
			x.Link = word[1:]
		case word[0] == '@':
			x.ModTime = number(t, word[1:], 10) * 1e9
		case pair:
			x.UID, x.GID = uint32(number(t, u, 10)), uint32(number(t, g, 10))
		default:
			x.Mode = uint16(number(t, word, 8))
		}
	}
	return x, content
}

func number(t testing.TB, s string, base int) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, base, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// notation writes changes down, reading the files' content from where the changes say it is.
func notation(t testing.TB, changes []filetree.Change) string {
	t.Helper()
	var b strings.Builder
	for i, c := range changes {
		if i > 0 && filetree.Compare(changes[i-1].Path, c.Path) >= 0 {
			t.Errorf("%q comes after %q", c.Path, changes[i-1].Path)
		}
		for letter, typ := range letters {
			if typ == c.Type {
				b.WriteString(letter + " " + cmp.Or(c.Path, "/"))
			}
		}
		if c.Type == filetree.Hardlink || c.Type == filetree.Whiteout {
			if c.Link != "" {
				b.WriteString(" >" + c.Link)
			}
			b.WriteByte('\n')
			continue
		}
		if c.Mode != defaultMode(c.Type) {
			fmt.Fprintf(&b, " %o", c.Mode)
		}
		if c.UID != 0 || c.GID != 0 {
			fmt.Fprintf(&b, " %d:%d", c.UID, c.GID)
		}
		if c.ModTime != 1e9 {
			fmt.Fprintf(&b, " @%d", c.ModTime/1e9)
		}
		if c.Link != "" {
			b.WriteString(" >" + c.Link)
		}
		if text := contentOf(t, c); text != "" {
			b.WriteString(" =" + text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func contentOf(t testing.TB, c filetree.Change) string {
	t.Helper()
	if c.Type != filetree.Regular || c.Source == nil {
		return ""
	}
	if c.From.Size != c.Size {
		t.Errorf("%q: %d bytes, to be read from %d", c.Path, c.Size, c.From.Size)
	}
	f, err := c.Source.Open(t.Context(), c.From)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	if err := cmp.Or(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// all lists a tree as the layer that would make it.
func all(t testing.TB, tr *filetree.Tree) []filetree.Change {
	t.Helper()
	var changes []filetree.Change
	first := map[any]string{}
	err := tr.Walk("", func(p string, n *filetree.Node) (bool, error) {
		if p == "" {
			return true, nil
		}
		c := filetree.Change{Entry: n.Entry(p)}
		c.Source, c.From = n.Source(p)
		c.Offset = 0
		if name, ok := first[n.FileID()]; ok {
			c = filetree.Change{Entry: filetree.Entry{Path: p, Type: filetree.Hardlink, Link: name}}
		} else {
			first[n.FileID()] = p
		}
		changes = append(changes, c)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return changes
}

// lines drops the indentation of a test's expectation.
func lines(text string) string {
	var b strings.Builder
	for _, line := range slices.Collect(strings.Lines(text)) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
