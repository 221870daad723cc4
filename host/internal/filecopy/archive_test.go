package filecopy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// tarOf makes a tar of the notation. A path is written as it stands there.
func tarOf(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		x, content := parseLine(t, line)
		h := &tar.Header{
			Name: strings.Fields(line)[1], Mode: int64(x.Mode), Uid: int(x.UID), Gid: int(x.GID), Linkname: x.Link,
			ModTime: time.Unix(0, x.ModTime), Size: int64(len(content)), Format: tar.FormatPAX,
			Typeflag: map[filetree.Type]byte{
				filetree.Regular: tar.TypeReg, filetree.Directory: tar.TypeDir, filetree.Symlink: tar.TypeSymlink,
				filetree.Hardlink: tar.TypeLink, filetree.FIFO: tar.TypeFifo,
			}[x.Type],
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// add plans an ADD of files with the given contents and returns the layer.
func add(t testing.TB, dst, instr string, files map[string]string, o ArchiveOptions) (string, error) {
	t.Helper()
	source := &memory{files}
	e := filetree.Empty().Edit()
	for name, content := range files {
		x := filetree.Entry{Path: name, Type: filetree.Regular, Mode: 0o644, Size: int64(len(content)), ModTime: 1e9}
		if err := e.Put(x, source, filetree.Ref{Path: name, Size: x.Size}); err != nil {
			t.Fatal(err)
		}
	}
	return addTree(t, dst, instr, e.Tree(), o)
}

func addTree(t testing.TB, dst, instr string, src *filetree.Tree, o ArchiveOptions) (string, error) {
	t.Helper()
	spec := instruction(t, src, instr)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	for i := range spec.Sources {
		spec.Sources[i].Unpack = effect.UnpackAlways
	}
	archives, err := FindArchives(t.Context(), spec.Sources, o)
	if err != nil {
		return "", err
	}
	defer func() {
		if err := archives.Close(); err != nil {
			t.Error(err)
		}
	}()
	if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	spec.Archives = archives
	changes, err := Plan(tree(t, dst), spec)
	if err != nil {
		return "", err
	}
	if _, err := tree(t, dst).ApplyChanges(changes); err != nil {
		t.Errorf("apply the layer: %v", err)
	}
	return notation(t, changes), nil
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ dst, tar, add, want, err string }{
		"to a missing directory": {
			tar: "d d 711 3:4 @5\nf d/x 600 3:4 @6 =hello\nl d/l 3:4 @7 >x\np d/p", add: "a /t/u",
			want: "d t @9\nd t/u @9\nd t/u/d 711 3:4 @5\nl t/u/d/l 3:4 @7 >x\np t/u/d/p\nf t/u/d/x 600 3:4 @6 =hello",
		},
		"owner of the instruction": {
			tar: "d d 711 3:4\nf d/x 4755 3:4 =x\nl l 3:4 >x\nh h 4755 3:4 >d/x", add: "--chown=7:8 --chmod=600 a /t",
			want: "d t 7:8 @9\nd t/d 711 7:8\nf t/d/x 4755 7:8 =x\nh t/h >t/d/x\nl t/l 7:8 >x",
		},
		"a symlink has no mode":                 {tar: "l x 600 >y", add: "a /t/", want: "d t @9\nl t/x >y"},
		"parents that are not in it are root's": {tar: "f a/b/x 3:4 =x", add: "--chown=7:8 a /t/", want: "d t 7:8 @9\nd t/a @9\nd t/a/b @9\nf t/a/b/x 7:8 =x"},
		"its own directory is nothing":          {dst: "d t 700 5:5 @3", tar: "d ./ 777 3:4 @8\nf ./x =x", add: "a /t", want: "d t 700 5:5 @3\nf t/x =x"},
		"directories merge": {
			dst: "d t\nd t/d 700 5:5\nf t/d/old =o", tar: "d d 711 3:4 @5\nf d/x =x", add: "a /t",
			want: "d t\nd t/d 711 3:4 @5\nf t/d/x =x",
		},
		"file over directory":     {dst: "d t\nd t/d\nf t/d/old", tar: "f d =x", add: "a /t", want: "d t\nf t/d =x"},
		"directory over file":     {dst: "d t\nf t/d =old", tar: "d d\nf d/x =x", add: "a /t", want: "d t\nd t/d\nf t/d/x =x"},
		"directory over link":     {dst: "d t\nd t/r\nl t/d >r", tar: "d d\nf d/x =x", add: "a /t", want: "d t\nd t/d\nf t/d/x =x"},
		"file over link":          {dst: "d t\nl t/x >r", tar: "f x =x", add: "a /t", want: "d t\nf t/x =x"},
		"a link in the way":       {dst: "d t\nd t/r 711\nl t/d >r", tar: "f d/x =x", add: "a /t", want: "d t\nd t/r 711\nf t/r/x =x"},
		"an absolute link":        {dst: "d usr\nd usr/lib 711\nl lib >/usr/lib", tar: "f lib/x =x", add: "a /", want: "d usr\nd usr/lib 711\nf usr/lib/x =x"},
		"a link to outside":       {dst: "d t\nd etc\nl t/d >../etc", tar: "f d/x =x", add: "a /t", want: "d t\nd t/etc @9\nf t/etc/x =x"},
		"a link to outside, abs.": {dst: "d t\nd etc\nl t/d >/etc", tar: "f d/x =x", add: "a /t", want: "d t\nd t/etc @9\nf t/etc/x =x"},
		"a link of its own":       {tar: "l d >/../../etc\nf d/passwd =x", add: "a /t", want: "d t @9\nl t/d >/../../etc\nd t/etc @9\nf t/etc/passwd =x"},
		"the destination a link":  {dst: "d r 711\nl t >/r", tar: "f x =x", add: "a /t", want: "d r 711\nf r/x =x"},
		"the destination a file":  {dst: "f t", tar: "f x =x", add: "a /t", err: `unpack "a" to "/t": "/t": not a directory`},
		"twice the same name":     {tar: "f x =old\nf x =new", add: "a /t", want: "d t @9\nf t/x =new"},
		"directory becomes a file and again one": {
			dst: "d t\nd t/d 700\nf t/d/old\nd t/d/n\nf t/d/n/old\nf t/d/x =old", tar: "f d =x\nd d\nf d/x =x\nd d/n", add: "a /t",
			want: "d t\nd t/d\nd t/d/n\n- t/d/n/old\n- t/d/old\nf t/d/x =x",
		},
		"made below what is removed later": {tar: "f d/x =x\nf d =y", add: "a /t", want: "d t @9\nf t/d =y"},
		"hardlinks":                        {tar: "f b =x\nh a 644 >b\nh c 644 >./b", add: "a /t", want: "d t @9\nf t/a =x\nh t/b >t/a\nh t/c >t/a"},
		"hardlink to what comes later":     {tar: "h a 644 >c\nh b 644 >a\nf c =x", add: "a /t", want: "d t @9\nf t/a =x\nh t/b >t/a\nh t/c >t/a"},
		"hardlink to what is there":        {dst: "d t\nf t/o 600 5:5 =o", tar: "h a 600 5:6 @7 >o", add: "a /t", want: "d t\nf t/a 600 5:6 @7 =o\nh t/o >t/a"},
		"hardlink to itself":               {tar: "f a =x\nh a >a", add: "a /t", want: "d t @9\nf t/a =x"},
		"hardlink to a link":               {tar: "l a >x\nh b >a", add: "a /t", want: "d t @9\nl t/a >x\nl t/b >x"},
		"hardlink whose file is replaced":  {tar: "f a =x\nh b 600 >a\nf a =y", add: "a /t", want: "d t @9\nf t/a =y\nf t/b 600 =x"},
		"hardlink to nothing":              {tar: "h a >b", add: "a /t", err: `"a" is a hardlink to "b", which is neither in the archive nor there already`},
		"hardlink to a directory":          {tar: "d d\nh a >d", add: "a /t", err: `is a hardlink to the directory "d"`},
		"hardlink to outside":              {dst: "f etc =x", tar: "h a >../etc", add: "a /t", err: "leads out of the archive"},
		"a name that leads out":            {tar: "f ../../etc/x =x", add: "a /t", err: `"../../etc/x" leads out of the archive`},
		"an absolute name":                 {tar: "f /etc/../x =x", add: "a /t", want: "d t @9\nf t/x =x"},
		"below a file":                     {tar: "f x\nf x/y", add: "a /t", err: "not a directory"},
		"a name of a whiteout":             {tar: "f d/.wh.x", add: "a /t", err: `".wh."`},
		"a name of an opaque whiteout":     {tar: "f d/.wh..wh..opq", add: "a /t", err: `".wh."`},
		"a loop of links":                  {tar: "l a >b\nl b >a\nf a/x", add: "a /t", err: "too many levels"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := add(t, tt.dst, tt.add, map[string]string{"a": string(tarOf(t, tt.tar))}, ArchiveOptions{})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q; got\n%s", err, tt.err, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lines(tt.want), got); diff != "" {
				t.Errorf("the layer (-want +got):\n%s", diff)
			}
		})
	}
}

func gzipped(t testing.TB, content []byte) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func compressed(t testing.TB, content []byte, open func(io.Writer) (io.WriteCloser, error)) string {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDetect(t *testing.T) {
	t.Parallel()
	content := tarOf(t, "f x =hello")
	text := []byte(strings.Repeat("no archive ", 100))
	bzip := exec.Command("bzip2", "-c")
	bzip.Stdin = bytes.NewReader(content)
	bz, err := bzip.Output()
	if err != nil {
		t.Fatal(err)
	}
	toXZ := func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }
	toZstd := func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
	for name, tt := range map[string]struct {
		content string
		archive bool
	}{
		"tar":               {string(content), true},
		"gzip":              {gzipped(t, content), true},
		"gzip in pieces":    {gzipped(t, content[:700]) + gzipped(t, content[700:]), true},
		"bzip2":             {string(bz), true},
		"xz":                {compressed(t, content, toXZ), true},
		"zstd":              {compressed(t, content, toZstd), true},
		"zstd after skip":   {"\x50\x2a\x4d\x18\x02\x00\x00\x00ab" + compressed(t, content, toZstd), true},
		"text":              {string(text), false},
		"gzip of text":      {gzipped(t, text), false},
		"xz of text":        {compressed(t, text, toXZ), false},
		"zstd of text":      {compressed(t, text, toZstd), false},
		"gzip of gzip":      {gzipped(t, []byte(gzipped(t, content))), false},
		"gzip's magic":      {"\x1f\x8b\x08nothing else", false},
		"gzip, cut at once": {gzipped(t, content)[:40], false}, // nothing in it says that it was an archive
		"a short file":      {"x", false},
		"nothing":           {"", false},
		"a tar of nothing":  {string(make([]byte, 1024)), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := add(t, "", "a /t/", map[string]string{"a": tt.content}, ArchiveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			unpacked := got == "d t @9\nf t/x =hello\n"
			if unpacked != tt.archive || !tt.archive && !strings.HasPrefix(got, "d t @9\nf t/a") {
				t.Errorf("unpacked: %v, want %v:\n%q", unpacked, tt.archive, got)
			}
		})
	}
}

func TestUnpackDamaged(t *testing.T) {
	t.Parallel()
	content := tarOf(t, "f x =hello\nf y =world\nf z ="+strings.Repeat("z", 4000))
	noise := make([]byte, 32<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	large := tarOf(t, "f x =hello\nf y ="+hex.EncodeToString(noise))
	for name, damaged := range map[string]string{
		"cut":          string(content[:len(content)-5000]),
		"gzip cut":     gzipped(t, large)[:20<<10],
		"wrong header": string(content[:3072]) + strings.Repeat("x", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := add(t, "", "a /t/", map[string]string{"a": damaged}, ArchiveOptions{}); err == nil || !strings.Contains(err.Error(), `unpack "a"`) {
				t.Errorf("error %v; got %.200q", err, got)
			}
		})
	}
}

// TestUnpackAlternating replaces a directory by a file and back so often that it takes minutes if each time costs all files.
func TestUnpackAlternating(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "f many/%d\n", i)
	}
	for range 20_000 {
		text.WriteString("d x\nf x/y\nf x\n")
	}
	start := time.Now()
	got, err := add(t, "", "a /t/", map[string]string{"a": string(tarOf(t, text.String()))}, ArchiveOptions{})
	if err != nil || !strings.HasSuffix(got, "f t/x\n") {
		t.Errorf("%.100q, %v", got, err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("unpacking took %s", took)
	}
}

func TestUnpackOnlyWhatIsNamed(t *testing.T) {
	t.Parallel()
	content := string(tarOf(t, "f x =hello"))
	files := map[string]string{"d/a.tar": content, "b.tar": content, "c.txt": "text"}
	got, err := add(t, "", "d *.t* /t/", files, ArchiveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := "d t @0\nf t/a.tar =" + content + "\nf t/c.txt =text\nf t/x =hello\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGlobalHeader(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "commit"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	b.Write(tarOf(t, "f x =hello"))
	got, err := add(t, "", "a /t/", map[string]string{"a": b.String()}, ArchiveOptions{})
	if err != nil || got != "d t @9\nf t/x =hello\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// sequential is a source whose files cannot be read from the middle.
type sequential struct{ memory }

func (s *sequential) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	f, err := s.memory.Open(ctx, ref)
	return struct{ io.ReadCloser }{f}, err
}

func TestUnpackSequentialSource(t *testing.T) {
	t.Parallel()
	content := string(tarOf(t, "f x =hello\nf y =world"))
	e := filetree.Empty().Edit()
	x := filetree.Entry{Path: "a", Type: filetree.Regular, Size: int64(len(content))}
	if err := e.Put(x, &sequential{memory{map[string]string{"a": content}}}, filetree.Ref{Path: "a", Size: x.Size}); err != nil {
		t.Fatal(err)
	}
	got, err := addTree(t, "", "a /t/", e.Tree(), ArchiveOptions{})
	if err != nil || got != "d t @9\nf t/x =hello\nf t/y =world\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestParentsUnpackNothing(t *testing.T) {
	t.Parallel()
	content := string(tarOf(t, "f x =hello"))
	got, err := add(t, "", "--parents a /t/", map[string]string{"a": content}, ArchiveOptions{})
	if err != nil || !strings.HasPrefix(got, "d t @0\nf t/a =") {
		t.Errorf("%.100q, %v", got, err)
	}
}
