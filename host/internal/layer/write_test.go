package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

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

// raw is the layer's tar, decompressed by the standard library or by the zstd command.
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
		{Compression: image.Gzip}, {Compression: image.Gzip, Level: 1}, {Compression: image.Gzip, Level: 9},
		{Compression: image.Zstd}, {Compression: image.Zstd, Level: 1}, {Compression: image.Uncompressed},
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

func TestHeaders(t *testing.T) {
	t.Parallel()
	source := &contents{files: map[string]string{"bin/su": "su", "ctx/file": "x"}}
	year2260 := time.Date(2260, 1, 1, 0, 0, 0, 0, time.UTC)
	long := strings.Repeat("long/", 30) + strings.Repeat("n", 120)
	entries := []filetree.Entry{
		{Path: "", Type: filetree.Directory, Mode: 0o755},
		{Path: "bin", Type: filetree.Directory, Mode: 0o1777, ModTime: 1_700_000_000_999_999_999},
		{Path: "bin/su", Type: filetree.Regular, Mode: 0o4755, UID: 7, GID: 8, Size: 2, ModTime: -5, Xattrs: map[string]string{capability: "\x01\x00\x00", "user.x": "dropped"}},
		{Path: "bin/su2", Type: filetree.Hardlink, Mode: 0o4755, Link: "bin/su"},
		{Path: "dev", Type: filetree.Directory, Mode: 0o700},
		{Path: "dev", Type: filetree.Opaque},
		{Path: "dev/fifo", Type: filetree.FIFO, Mode: 0o600},
		{Path: "dev/null", Type: filetree.CharDevice, Mode: 0o666, Major: 1, Minor: 3},
		{Path: "dev/sda", Type: filetree.BlockDevice, Mode: 0o660, Major: 8},
		{Path: "etc/gone", Type: filetree.Whiteout, Mode: 0o777, UID: 9, ModTime: 77},
		{Path: "link", Type: filetree.Symlink, Mode: 0o777, Link: "../a b"},
		{Path: long, Type: filetree.FIFO, UID: 1 << 31, ModTime: year2260.UnixNano()},
	}
	var changes []filetree.Change
	for _, e := range entries {
		c := filetree.Change{Entry: e}
		if e.Type == filetree.Regular {
			c.Source, c.From = source, filetree.Ref{Path: e.Path, Size: e.Size}
		}
		changes = append(changes, c)
	}
	l := mustWrite(t, newStore(t), changes, Options{Compression: image.Gzip})
	var got []string
	r := tar.NewReader(bytes.NewReader(raw(t, l)))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uname+h.Gname != "" || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() || h.ModTime.Nanosecond() != 0 {
			t.Errorf("%q: %+v", h.Name, h)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%c %04o %d:%d %d %d,%d %s %s %d %q", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Size,
			h.Devmajor, h.Devminor, h.Name, h.Linkname, h.ModTime.Unix(), h.PAXRecords["SCHILY.xattr.security.capability"])))
		for k := range h.PAXRecords {
			if !slices.Contains([]string{"path", "uid", "mtime", "SCHILY.xattr.security.capability"}, k) {
				t.Errorf("%q: record %q", h.Name, k)
			}
		}
	}
	want := []string{
		`5 0755 0:0 0 0,0 ./  0 ""`,
		`5 1777 0:0 0 0,0 bin/  1700000000 ""`,
		`0 4755 7:8 2 0,0 bin/su  0 "\x01\x00\x00"`,
		`1 4755 0:0 0 0,0 bin/su2 bin/su 0 ""`,
		`5 0700 0:0 0 0,0 dev/  0 ""`,
		`0 0000 0:0 0 0,0 dev/.wh..wh..opq  0 ""`,
		`6 0600 0:0 0 0,0 dev/fifo  0 ""`,
		`3 0666 0:0 0 1,3 dev/null  0 ""`,
		`4 0660 0:0 0 8,0 dev/sda  0 ""`,
		`0 0000 0:0 0 0,0 etc/.wh.gone  0 ""`,
		`2 0777 0:0 0 0,0 link ../a b 0 ""`,
		fmt.Sprintf(`6 0000 %d:0 0 0,0 %s  %d ""`, 1<<31, long, year2260.Unix()),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	listed, err := exec.CommandContext(t.Context(), "tar", "-tvzf", l.Blob.File()).CombinedOutput()
	if err != nil {
		t.Errorf("tar: %v\n%s", err, listed)
	}
	if n := strings.Count(string(listed), "\n"); n != len(entries) {
		t.Errorf("tar lists %d entries, not %d:\n%s", n, len(entries), listed)
	}
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

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	source := &contents{files: map[string]string{"a": "abc", "big": strings.Repeat("x", 2<<20)}}
	file := func(p string, size int64, d filetree.Digest) filetree.Change {
		e := filetree.Entry{Path: p, Type: filetree.Regular, Size: size, Digest: d}
		return filetree.Change{Entry: e, Source: source, From: filetree.Ref{Path: p, Size: size, Digest: d}}
	}
	bare := func(p string, typ filetree.Type, link string) filetree.Change {
		return filetree.Change{Entry: filetree.Entry{Path: p, Type: typ, Link: link}}
	}
	for name, tt := range map[string]struct {
		changes []filetree.Change
		is      error
		says    string
	}{
		"file shrank":          {[]filetree.Change{file("a", 4, filetree.Digest{})}, ErrChanged, `"a"`},
		"file grew":            {[]filetree.Change{file("a", 2, filetree.Digest{})}, ErrChanged, `"a"`},
		"file changed":         {[]filetree.Change{file("a", 3, sha256.Sum256([]byte("abd")))}, ErrChanged, `"a"`},
		"large file shrank":    {[]filetree.Change{file("big", 2<<20+1, filetree.Digest{})}, ErrChanged, `"big"`},
		"large file grew":      {[]filetree.Change{file("big", 2<<20-1, filetree.Digest{})}, ErrChanged, `"big"`},
		"large file changed":   {[]filetree.Change{file("big", 2<<20, filetree.Digest{1})}, ErrChanged, `"big"`},
		"file vanished":        {[]filetree.Change{file("none", 1, filetree.Digest{})}, filetree.ErrNotExist, `"none"`},
		"no source":            {[]filetree.Change{{Entry: filetree.Entry{Path: "a", Type: filetree.Regular, Size: 1}}}, nil, "no source"},
		"not sorted":           {[]filetree.Change{bare("b", filetree.FIFO, ""), bare("a", filetree.FIFO, "")}, nil, "not sorted"},
		"not in walk order":    {[]filetree.Change{bare("a.b", filetree.FIFO, ""), bare("a/b", filetree.FIFO, "")}, nil, "not sorted"},
		"twice":                {[]filetree.Change{bare("a", filetree.FIFO, ""), bare("a", filetree.FIFO, "")}, nil, "not sorted"},
		"whiteout as a name":   {[]filetree.Change{bare("a/.wh.b", filetree.FIFO, "")}, nil, "rename it"},
		"unclean":              {[]filetree.Change{bare("a/../b", filetree.FIFO, "")}, nil, "clean"},
		"absolute":             {[]filetree.Change{bare("/a", filetree.FIFO, "")}, nil, "clean"},
		"NUL":                  {[]filetree.Change{bare("a\x00", filetree.FIFO, "")}, nil, "NUL"},
		"hardlink to nothing":  {[]filetree.Change{bare("a", filetree.Hardlink, "b")}, nil, "no such file"},
		"hardlink forward":     {[]filetree.Change{bare("a", filetree.Hardlink, "b"), bare("b", filetree.FIFO, "")}, nil, "before it"},
		"hardlink to itself":   {[]filetree.Change{bare("a", filetree.Hardlink, "a")}, nil, "before it"},
		"hardlink to a folder": {[]filetree.Change{bare("a", filetree.Directory, ""), bare("b", filetree.Hardlink, "a")}, nil, "no such file"},
		"unknown type":         {[]filetree.Change{bare("a", 77, "")}, nil, "invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "blobs")
			s, err := blob.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			l, err := Write(t.Context(), s, tt.changes, Options{Compression: image.Gzip})
			if err == nil {
				t.Fatalf("accepted as %s", l.DiffID)
			}
			if tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q", err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	if _, err := Write(t.Context(), newStore(t), nil, Options{Compression: "lzma"}); err == nil {
		t.Error("unknown compression accepted")
	}
	if _, err := Write(t.Context(), newStore(t), nil, Options{Compression: image.Gzip, Level: 10}); err == nil {
		t.Error("gzip level 10 accepted")
	}
}

// TestBlobGrowsMeanwhile: the upload of a layer starts before its last file was read.
func TestBlobGrowsMeanwhile(t *testing.T) {
	t.Parallel()
	source := &gate{open: make(chan struct{})}
	noise := int64(8 << 20)
	changes := []filetree.Change{
		{Entry: filetree.Entry{Path: "a", Type: filetree.Regular, Size: noise}, Source: source, From: filetree.Ref{Path: "a", Size: noise}},
		{Entry: filetree.Entry{Path: "b", Type: filetree.Regular, Size: 1}, Source: source, From: filetree.Ref{Path: "b", Size: 1}},
	}
	p, err := Start(t.Context(), newStore(t), changes, Options{Compression: image.Gzip})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Blob().Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	early := make([]byte, 4<<20)
	if _, err := io.ReadFull(r, early); err != nil {
		t.Fatal(err)
	}
	close(source.open)
	late, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := l.Blob.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("sha256:%x", sha256.Sum256(append(early, late...))); got != d.String() {
		t.Errorf("read %s of blob %s", got, d)
	}
}

// gate is a source whose file "b" cannot be read before it is opened; all else is noise.
type gate struct{ open chan struct{} }

func (g *gate) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	if ref.Path == "b" {
		<-g.open
	}
	return io.NopCloser(io.LimitReader(rand.NewChaCha8([32]byte{1}), ref.Size)), nil
}

func TestWriteCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	source := &gate{open: make(chan struct{})}
	big := int64(1 << 40)
	p, err := Start(ctx, newStore(t), []filetree.Change{{
		Entry: filetree.Entry{Path: "a", Type: filetree.Regular, Size: big}, Source: source, From: filetree.Ref{Path: "a", Size: big},
	}}, Options{Compression: image.Gzip})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Blob().Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, 1<<20); err != nil {
		t.Fatal(err)
	}
	reason := errors.New("the user gave up")
	cancel(reason)
	if _, err := p.Wait(); !errors.Is(err, reason) {
		t.Errorf("Wait: %v", err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, reason) {
		t.Errorf("reader: %v", err)
	}
}

// TestMemory: what the pipeline takes does not depend on the size of the layer. It is not parallel, for it looks at the
// heap of the whole process.
func TestMemory(t *testing.T) {
	size := int64(128 << 20)
	source := &pattern{}
	var changes []filetree.Change
	for _, p := range []string{"a", "b"} {
		e := filetree.Entry{Path: p, Type: filetree.Regular, Size: size}
		changes = append(changes, filetree.Change{Entry: e, Source: source, From: filetree.Ref{Path: p, Size: size}})
	}
	for _, o := range []Options{{Compression: image.Gzip, Level: 1, Jobs: 4}, {Compression: image.Zstd, Level: 1, Jobs: 4}} {
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := Start(t.Context(), newStore(t), changes, o)
		if err != nil {
			t.Fatal(err)
		}
		var peak uint64
		for done := false; !done; {
			select {
			case <-p.done:
				done = true
			case <-time.After(20 * time.Millisecond):
			}
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapInuse-min(now.HeapInuse, before.HeapInuse))
		}
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: peak heap %d MiB", o.Compression, peak>>20)
		if peak > 64<<20 {
			t.Errorf("%s: writing %d MiB took %d MiB of memory", o.Compression, 2*size>>20, peak>>20)
		}
	}
}

// pattern is a source of files that compress well.
type pattern struct{}

func (*pattern) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	return io.NopCloser(io.LimitReader(&patternReader{}, ref.Size)), nil
}

type patternReader struct{ n byte }

func (r *patternReader) Read(p []byte) (int, error) {
	for i := range min(len(p), 256) {
		p[i] = byte(i) ^ r.n
	}
	for k := 256; k < len(p); k *= 2 {
		copy(p[k:], p[:k])
	}
	r.n++
	return len(p), nil
}
