package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// archive is a tar of headers, each with as much content as it says.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range headers {
		if err := w.WriteHeader(&headers[i]); err != nil {
			t.Fatal(err)
		}
		if headers[i].Typeflag == tar.TypeReg {
			_, _ = w.Write(bytes.Repeat([]byte{'x'}, int(headers[i].Size)))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

// list is a line for each entry.
func list(entries []filetree.Entry) []string {
	var lines []string
	for _, e := range entries {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Type, e.Path, e.Link)))
	}
	return lines
}

func TestReadNames(t *testing.T) {
	t.Parallel()
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
	}
	long := strings.Repeat("d/", 100) + strings.Repeat("n", 200)
	for name, tt := range map[string]struct {
		headers []tar.Header
		want    []string
	}{
		"root":               {[]tar.Header{{Typeflag: tar.TypeDir, Name: "./"}, {Typeflag: tar.TypeDir, Name: "/"}}, []string{"directory", "directory"}},
		"dots and slashes":   {[]tar.Header{file("./a"), file("b//./c"), file("d/../e")}, []string{"file a", "file b/c", "file e"}},
		"absolute":           {[]tar.Header{file("/etc/passwd")}, []string{"file etc/passwd"}},
		"leaves the root":    {[]tar.Header{file("../../etc/passwd"), file("a/../../../b")}, []string{"file etc/passwd", "file b"}},
		"hardlink leaves":    {[]tar.Header{link("a", "../../etc/shadow"), link("b", "/bin/../etc/x")}, []string{"hardlink a etc/shadow", "hardlink b etc/x"}},
		"symlink as written": {[]tar.Header{{Typeflag: tar.TypeSymlink, Name: "a", Linkname: "../../../etc/x/"}}, []string{"symlink a ../../../etc/x/"}},
		"whiteout":           {[]tar.Header{file(".wh.a"), file("b/.wh.c"), {Typeflag: tar.TypeDir, Name: "d/.wh.e/"}}, []string{"whiteout a", "whiteout b/c", "whiteout d/e"}},
		"opaque":             {[]tar.Header{file(".wh..wh..opq"), file("b/.wh..wh..opq")}, []string{"opaque whiteout", "opaque whiteout b"}},
		"aufs":               {[]tar.Header{{Typeflag: tar.TypeDir, Name: ".wh..wh.plnk/"}, file(".wh..wh.plnk/12.34"), file(".wh..wh.aufs"), file("b/.wh..wh.orph")}, nil},
		"no whiteouts":       {[]tar.Header{file("a.wh.b"), file("wh.x"), file(".wha")}, []string{"file a.wh.b", "file wh.x", "file .wha"}},
		"twice":              {[]tar.Header{file("a"), {Typeflag: tar.TypeDir, Name: "a"}, file("a")}, []string{"file a", "directory a", "file a"}},
		"global header":      {[]tar.Header{{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "1234"}}, file("a")}, []string{"file a"}},
		"long name, PAX":     {[]tar.Header{{Typeflag: tar.TypeReg, Name: long, Format: tar.FormatPAX}}, []string{"file " + long}},
		"long name, GNU":     {[]tar.Header{{Typeflag: tar.TypeReg, Name: long, Format: tar.FormatGNU}}, []string{"file " + long}},
		"contiguous file":    {[]tar.Header{{Typeflag: tar.TypeCont, Name: "a"}}, []string{"file a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Read(t.Context(), bytes.NewReader(archive(t, tt.headers...)), ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, list(c.Entries)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadFields(t *testing.T) {
	t.Parallel()
	records := map[string]string{
		"SCHILY.xattr.security.capability": "cap", "SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.overlay.opaque": "y",
		"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.security.selinux": "x", "VENDOR.other": "z",
	}
	data := archive(t,
		tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 3, Mode: 0o104755, Uid: 1 << 30, Gid: 7, ModTime: time.Unix(5, 6), Format: tar.FormatPAX, PAXRecords: records},
		tar.Header{Typeflag: tar.TypeReg, Name: "b", Uid: 1 << 31, ModTime: time.Unix(-9, 0), Format: tar.FormatGNU}, // base-256 numbers
		tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1, Devminor: 3},
		tar.Header{Typeflag: tar.TypeReg, Name: "d", ModTime: time.Unix(1<<40, 0), Format: tar.FormatPAX},
	)
	c, err := Read(t.Context(), bytes.NewReader(zipped(data)), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	empty := filetree.Digest(sha256.Sum256(nil))
	want := []filetree.Entry{
		{
			Path: "a", Type: filetree.Regular, Mode: 0o4755, UID: 1 << 30, GID: 7, Size: 3, ModTime: 5_000_000_006, Offset: 1536,
			Digest: sha256.Sum256([]byte("xxx")), Xattrs: map[string]string{"security.capability": "cap", "user.a": "1"},
		},
		{Path: "b", Type: filetree.Regular, UID: 1 << 31, ModTime: -9_000_000_000, Offset: 2560, Digest: empty},
		{Path: "c", Type: filetree.CharDevice, Major: 1, Minor: 3},
		{Path: "d", Type: filetree.Regular, Offset: 4608, Digest: empty},
	}
	if diff := cmp.Diff(want, c.Entries); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// patched is a tar of one file in which some bytes of the first header were changed.
func patched(t *testing.T, change func(header []byte)) []byte {
	t.Helper()
	b := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 3})
	change(b[:512])
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// withRecords is a tar of one file behind a PAX header with any bytes in it.
func withRecords(t *testing.T, records string) []byte {
	t.Helper()
	b := patched(t, func(h []byte) {
		h[156] = 'x'
		copy(h[124:136], fmt.Sprintf("%011o\x00", len(records)))
	})[:512]
	b = append(b, records...)
	b = append(b, make([]byte, pad(int64(len(records))))...)
	return append(b, archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a"})...)
}

func record(key, value string) string {
	for n := len(key) + len(value); ; n++ {
		if s := fmt.Sprintf("%d %s=%s\n", n, key, value); len(s) == n {
			return s
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	file := func(name string) []byte { return archive(t, tar.Header{Typeflag: tar.TypeReg, Name: name}) }
	whole := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 100_000})
	for name, tt := range map[string]struct {
		data []byte
		says string
	}{
		"gzip cut off":          {zipped(whole)[:50], "gzip stream is cut off"},
		"gzip header cut off":   {[]byte{0x1f, 0x8b, 8, 0}, "gzip stream is cut off"},
		"gzip checksum":         {slices.Concat(zipped(whole)[:len(zipped(whole))-8], make([]byte, 8)), "gzip"},
		"garbage after gzip":    {append(zipped(whole), "garbage"...), "gzip"},
		"zstd cut off":          {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0x24}, "zstd"},
		"tar cut off":           {whole[:5000], "tar is cut off"},
		"no tar":                {bytes.Repeat([]byte("no tar"), 1000), "its tar is damaged: a header is invalid"},
		"negative size":         {patched(t, func(h []byte) { copy(h[124:136], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0") }), "its tar is damaged: a header is invalid"},
		"size beyond the end":   {patched(t, func(h []byte) { copy(h[124:136], "77777777777\x00") }), "cut off"},
		"unknown type":          {patched(t, func(h []byte) { h[156] = 'Q' }), "not known"},
		"owner too large":       {withRecords(t, record("uid", "4294967295")), "no owner 4294967295"},
		"owner negative":        {withRecords(t, record("gid", "-1")), "no group -1"},
		"NUL in a PAX name":     {withRecords(t, record("path", "a\x00b")), "its tar is damaged: a header is invalid"},
		"giant PAX header":      {withRecords(t, record("comment", strings.Repeat("x", 2<<20))), "too long"},
		"giant PAX name":        {withRecords(t, record("path", strings.Repeat("x/", 100_000))), "4096 are possible"},
		"giant PAX link":        {withRecords(t, record("linkpath", strings.Repeat("x/", 100_000))), ""}, // not a link: of no account
		"giant xattr":           {withRecords(t, record("SCHILY.xattr.user.a", strings.Repeat("x", 65<<10))), "too long"},
		"broken PAX record":     {withRecords(t, "99999999999999999999 a=b\n"), "its tar is damaged: a header is invalid"},
		"whiteout of nothing":   {file(".wh."), "whiteout of no file"},
		"whiteout of dot":       {file("a/.wh.."), "whiteout of no file"},
		"whiteout of parent":    {file("a/.wh..."), "whiteout of no file"},
		"below a whiteout":      {file("a/.wh.b/c"), "below a whiteout"},
		"root a file":           {file("."), "root directory"},
		"root a symlink":        {archive(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "/", Linkname: "x"}), "root directory"},
		"hardlink to nothing":   {archive(t, tar.Header{Typeflag: tar.TypeLink, Name: "a"}), "to nothing"},
		"sparse map of nothing": {withRecords(t, record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.realsize", "99")), "cut off"},
		"sparse bomb":           {withRecords(t, record("GNU.sparse.map", "0,0")+record("GNU.sparse.numblocks", "1")+record("GNU.sparse.size", "9000000000000000000")), "sparse files have more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Read(t.Context(), bytes.NewReader(tt.data), ReadOptions{Name: "sha256:1234"})
			if tt.says == "" && err == nil {
				return
			}
			if err == nil {
				t.Fatalf("accepted: %q", list(c.Entries))
			}
			if !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), `read layer "sha256:1234": `) {
				t.Errorf("error %.300q", err)
			}
		})
	}
}

func TestReadDiffID(t *testing.T) {
	t.Parallel()
	data := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a"})
	c, err := Read(t.Context(), bytes.NewReader(append(data, "after the end"...)), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(append(data, "after the end"...))); c.DiffID.String() != want {
		t.Errorf("diff ID %s does not cover what follows the archive", c.DiffID)
	}
	if _, err := Read(t.Context(), bytes.NewReader(zipped(data)), ReadOptions{DiffID: c.DiffID}); err == nil {
		t.Error("wrong diff ID accepted")
	}
}

// TestSparse: files with holes, of all three of GNU tar's formats, are expanded for the visitor and for the source.
func TestSparse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{1 << 20, 3 << 20, 9 << 20} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(10<<20), f.Close(), os.WriteFile(filepath.Join(dir, "last"), []byte("last"), 0o600)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := &contents{files: map[string]string{"holes": string(content), "last": "last"}}
	for _, format := range [][]string{{"--format=gnu"}, {"--format=pax", "--sparse-version=0.0"}, {"--format=pax", "--sparse-version=0.1"}, {"--format=pax", "--sparse-version=1.0"}} {
		args := append(slices.Clone(format), "-C", dir, "--sparse", "-c", "holes", "last")
		data, err := exec.CommandContext(t.Context(), "tar", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 1<<20 {
			t.Fatalf("%q made no sparse archive: %d bytes", args, len(data))
		}
		seen := &recorder{}
		c, err := Read(t.Context(), bytes.NewReader(data), ReadOptions{Visitor: seen})
		if err != nil {
			t.Errorf("%q: %v", format, err)
			continue
		}
		if seen.files["holes"] != string(content) || c.Entries[0].Digest != sha256.Sum256(content) {
			t.Errorf("%q: the visitor saw other content", format)
		}
		s := NewSource(newStore(t), c.DiffID, func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		})
		for i := range c.Entries {
			if err := checkFile(t.Context(), s, &c.Entries[i], want); err != nil {
				t.Errorf("%q: %v", format, err)
			}
		}
		encoded, err := EncodeIndex(c.Index)
		if err != nil {
			t.Fatal(err)
		}
		if x, err := DecodeIndex(encoded); err != nil || !cmp.Equal(*x, c.Index) {
			t.Errorf("%q: index of a sparse file: %v", format, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	data := zipped(archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 5 << 20}, tar.Header{Typeflag: tar.TypeReg, Name: "b", Size: 5 << 20}))
	broken := errors.New("connection reset")
	if _, err := Read(t.Context(), io.MultiReader(bytes.NewReader(data[:1000]), &failing{broken}), ReadOptions{}); !errors.Is(err, broken) {
		t.Errorf("error of the stream: %v", err)
	}
	if _, err := Read(t.Context(), bytes.NewReader(data), ReadOptions{Visitor: &failing{broken}}); !errors.Is(err, broken) {
		t.Errorf("error of the visitor: %v", err)
	}
	if _, err := Read(t.Context(), bytes.NewReader(data), ReadOptions{Tee: &failing{broken}}); !errors.Is(err, broken) {
		t.Errorf("error of the tee: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, err := Read(ctx, bytes.NewReader(data), ReadOptions{}); !errors.Is(err, broken) {
		t.Errorf("cancelled: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error)              { return 0, f.err }
func (f *failing) Write([]byte) (int, error)             { return 0, f.err }
func (f *failing) Entry(filetree.Entry, io.Reader) error { return f.err }

// TestInline: what is kept is bounded, and is the last one.
func TestInline(t *testing.T) {
	t.Parallel()
	var headers []tar.Header
	for i := range 20 {
		headers = append(headers, tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Size: int64(1000 + i)})
	}
	headers = append(headers, tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Size: maxInline + 1})
	c, err := Read(t.Context(), bytes.NewReader(archive(t, headers...)), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte{'x'}, 1019)
	if diff := cmp.Diff(Inline{sha256.Sum256(want): want}, c.Inline); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s := c.Inline.Source(&contents{})
	r, err := s.Open(t.Context(), filetree.Ref{Path: "anything", Size: 1019, Digest: sha256.Sum256(want)})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(r); !bytes.Equal(got, want) {
		t.Errorf("inline content is %q", got)
	}
	if _, err := s.Open(t.Context(), filetree.Ref{Path: "etc/passwd"}); !errors.Is(err, filetree.ErrNotExist) {
		t.Errorf("a file without digest: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Size: 3}, tar.Header{Typeflag: tar.TypeReg, Name: "a/.wh.b"}))
	f.Add(zipped(archive(f, tar.Header{Typeflag: tar.TypeLink, Name: "../a", Linkname: "/../b"})))
	f.Add(archive(f, tar.Header{Typeflag: tar.TypeReg, Name: "a", Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "\x00"}}))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x24, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		c, err := Read(t.Context(), bytes.NewReader(data), ReadOptions{Visitor: &recorder{}})
		if err != nil {
			return
		}
		for i := range c.Entries {
			if err := encodable(&c.Entries[i]); err != nil {
				t.Errorf("entry %+v: %v", c.Entries[i], err)
			}
		}
		encoded, err := EncodeIndex(c.Index)
		if err != nil {
			t.Fatal(err)
		}
		if x, err := DecodeIndex(encoded); err != nil || !cmp.Equal(*x, c.Index) {
			t.Errorf("the index does not survive: %v", err)
		}
	})
}
