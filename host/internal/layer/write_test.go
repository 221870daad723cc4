package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/blob"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"

	stdgzip "compress/gzip"
)

// contents is a source of files that are held in memory.
type contents struct {
	files map[string]string
	chunk int // the most that a Read returns; 0 for all
}

func (c *contents) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	text, ok := c.files[ref.Path]
	if !ok {
		return nil, filetree.ErrNotExist
	}
	return io.NopCloser(&chunked{strings.NewReader(text), c.chunk}), nil
}

type chunked struct {
	r     io.Reader
	chunk int
}

func (c *chunked) Read(p []byte) (int, error) {
	if c.chunk > 0 {
		p = p[:min(len(p), c.chunk)]
	}
	return c.r.Read(p)
}

// mixed makes changes of many kinds: directories, small and large files, links, devices, whiteouts.
func mixed(seed uint64, files int) ([]filetree.Change, *contents) {
	r := rand.New(rand.NewPCG(seed, 7))
	source := &contents{files: map[string]string{}}
	var changes []filetree.Change
	add := func(e filetree.Entry) {
		e.Mode, e.UID, e.ModTime = uint16(r.IntN(0o10000)), r.Uint32N(1<<31), r.Int64N(1<<62)
		c := filetree.Change{Entry: e}
		if e.Type == filetree.Regular {
			c.Source, c.From = source, filetree.Ref{Path: e.Path, Size: e.Size}
		}
		changes = append(changes, c)
	}
	for i := range files {
		dir := fmt.Sprintf("d%03d", i)
		add(filetree.Entry{Path: dir, Type: filetree.Directory})
		size := []int{0, 1, 511, 512, 513, 5000, 70000, 1 << 20, 1<<20 + 1, 3 << 20}[r.IntN(10)]
		text := text(r, size)
		source.files[dir+"/a"] = text
		add(filetree.Entry{Path: dir + "/a", Type: filetree.Regular, Size: int64(len(text))})
		add(filetree.Entry{Path: dir + "/b" + strings.Repeat("ü", r.IntN(90)), Type: filetree.Hardlink, Link: dir + "/a"})
		add(filetree.Entry{Path: dir + "/c", Type: filetree.Symlink, Link: "../" + strings.Repeat("x", 1+r.IntN(150))})
		add(filetree.Entry{Path: dir + "/d", Type: filetree.CharDevice, Major: r.Uint32N(4096), Minor: r.Uint32N(1 << 20)})
		add(filetree.Entry{Path: dir + "/e", Type: filetree.FIFO})
		changes = append(changes, filetree.Change{Entry: filetree.Entry{Path: dir + "/f", Type: filetree.Whiteout}})
	}
	return changes, source
}

// text is half noise, half words.
func text(r *rand.Rand, size int) string {
	b := make([]byte, 0, size+16)
	for len(b) < size {
		if len(b)/4096%2 == 0 {
			b = append(b, byte(r.Uint32()))
		} else {
			b = append(b, []string{"layer ", "digest ", "blob\n", "compress ", "index "}[r.IntN(5)]...)
		}
	}
	return string(b[:size])
}

func newStore(t testing.TB) *blob.Store {
	t.Helper()
	s, err := blob.Open(filepath.Join(t.TempDir(), "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustWrite(t testing.TB, s *blob.Store, changes []filetree.Change, o Options) *Layer {
	t.Helper()
	l, err := Write(t.Context(), s, changes, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// raw is the layer's tar; gzip is decompressed by the standard library, which is not what compressed it.
func raw(t testing.TB, l *Layer) []byte {
	t.Helper()
	data, err := os.ReadFile(l.Blob.File())
	if err != nil {
		t.Fatal(err)
	}
	switch l.Compression {
	case image.Gzip:
		z, err := stdgzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	case image.Zstd:
		d, err := newDecompressor(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		if data, err = io.ReadAll(d); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func TestLayerIsAFunctionOfItsChanges(t *testing.T) {
	t.Parallel()
	changes, source := mixed(1, 16)
	for _, o := range []Options{
		{Compression: image.Gzip},
		{Compression: image.Gzip, Level: 1},
		{Compression: image.Gzip, Level: 9},
		{Compression: image.Zstd},
		{Compression: image.Zstd, Level: 1},
		{Compression: image.Uncompressed},
	} {
		t.Run(fmt.Sprint(o.Compression, o.Level), func(t *testing.T) {
			var first *Layer
			for _, how := range []struct{ jobs, chunk int }{{1, 0}, {8, 1000}, {3, 70_000}} {
				o.Jobs, source.chunk = how.jobs, how.chunk
				l := mustWrite(t, newStore(t), changes, o)
				if first == nil {
					first = l
				}
				if diff := cmp.Diff(summary(t, first), summary(t, l)); diff != "" {
					t.Errorf("%d jobs, files read %d bytes at a time (-first +now):\n%s", how.jobs, how.chunk, diff)
				}
			}
			data := raw(t, first)
			if got := fmt.Sprintf("sha256:%x", sha256.Sum256(data)); got != first.DiffID.String() {
				t.Errorf("diff ID %s, but the tar has %s", first.DiffID, got)
			}
			if first.Size != int64(len(data)) {
				t.Errorf("size %d, but the tar has %d", first.Size, len(data))
			}
		})
	}
}

func summary(t *testing.T, l *Layer) string {
	t.Helper()
	d, size, err := l.Blob.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	index, err := EncodeIndex(l.Index)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d %s %d %x", d, size, l.DiffID, l.Size, sha256.Sum256(index))
}

// TestWriteRead: what Write says of a layer is what Read finds in it.
func TestWriteRead(t *testing.T) {
	t.Parallel()
	changes, source := mixed(2, 12)
	source.files["etc/passwd"], source.files["etc/group"] = "root:x:0:0\n", strings.Repeat("x", maxInline+1)
	for _, p := range []string{"etc/group", "etc/passwd"} {
		e := filetree.Entry{Path: p, Type: filetree.Regular, Size: int64(len(source.files[p]))}
		changes = append(changes, filetree.Change{Entry: e, Source: source, From: filetree.Ref{Path: p, Size: e.Size}})
	}
	for _, compression := range []image.Compression{image.Gzip, image.Zstd, image.Uncompressed} {
		var tee bytes.Buffer
		l := mustWrite(t, newStore(t), changes, Options{Compression: compression, Tee: &tee})
		if !bytes.Equal(tee.Bytes(), raw(t, l)) {
			t.Error("tee got something else than the tar")
		}
		r, err := l.Blob.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var again bytes.Buffer
		seen := &recorder{}
		c, err := Read(t.Context(), r, ReadOptions{Name: "x", DiffID: l.DiffID, Visitor: seen, Tee: &again})
		if err != nil {
			t.Fatal(err)
		}
		want := &Contents{Index: l.Index, DiffID: l.DiffID, Size: l.Size, Compression: compression}
		if diff := cmp.Diff(want, c); diff != "" {
			t.Errorf("%s (-written +read):\n%s", compression, diff)
		}
		if !bytes.Equal(tee.Bytes(), again.Bytes()) {
			t.Error("tee of Read got something else than that of Write")
		}
		if len(c.Inline) != 1 {
			t.Errorf("%d files are inline", len(c.Inline))
		}
		for p, content := range seen.files {
			if content != source.files[p] {
				t.Errorf("%q was read with %d bytes of other content", p, len(content))
			}
		}
		checkSource(t, l, source)
	}
}

// recorder reads every second file, and leaves the others unread.
type recorder struct {
	files map[string]string
	n     int
}

func (r *recorder) Entry(e filetree.Entry, content io.Reader) error {
	if content == nil {
		return nil
	}
	if r.n++; r.n%2 == 0 {
		return nil
	}
	b, err := io.ReadAll(content)
	if r.files == nil {
		r.files = map[string]string{}
	}
	r.files[e.Path] = string(b)
	return err
}

// checkSource reads all files of a layer through a source, several at once.
func checkSource(t *testing.T, l *Layer, want *contents) {
	t.Helper()
	opened := 0
	s := NewSource(newStore(t), l.DiffID, func(ctx context.Context) (io.ReadCloser, error) {
		opened++ // under the source's lock
		return l.Blob.Open(ctx, 0)
	})
	done := make(chan error)
	for i := range l.Entries {
		go func() { done <- checkFile(t.Context(), s, &l.Entries[i], want) }()
	}
	for range l.Entries {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if opened != 1 {
		t.Errorf("the layer was opened %d times", opened)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func checkFile(ctx context.Context, s filetree.Source, e *filetree.Entry, want *contents) error {
	if e.Type != filetree.Regular {
		return nil
	}
	r, err := s.Open(ctx, filetree.Ref{Path: e.Path, Offset: e.Offset, Size: e.Size})
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	if string(b) != want.files[e.Path] {
		err = errors.Join(err, fmt.Errorf("%q: the source has other content", e.Path))
	}
	return errors.Join(err, r.Close())
}

func TestEmptyLayer(t *testing.T) {
	t.Parallel()
	for _, compression := range []image.Compression{image.Gzip, image.Zstd, image.Uncompressed} {
		l := mustWrite(t, newStore(t), nil, Options{Compression: compression})
		// The diff ID that every builder gives a layer without entries.
		if want := "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"; l.DiffID.String() != want {
			t.Errorf("%s: diff ID %s", compression, l.DiffID)
		}
	}
}
