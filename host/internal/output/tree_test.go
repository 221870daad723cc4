package output

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// contents is a source of files by path.
type contents struct{ files map[string]string }

func (c *contents) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	content, ok := c.files[ref.Path]
	if !ok {
		return nil, fmt.Errorf("%q: %w", ref.Path, os.ErrNotExist)
	}
	return io.NopCloser(strings.NewReader(content)), nil
}

const second = int64(time.Second)

// testTree has one of everything.
func testTree(t *testing.T) *filetree.Tree {
	t.Helper()
	files := map[string]string{"etc/passwd": "root\n", "bin/tool": "#!/bin/sh\n", "etc/escape": "from the image\n"}
	uid := uint32(os.Geteuid())
	e := func(path string, typ filetree.Type, mode uint16) filetree.Entry {
		return filetree.Entry{Path: path, Type: typ, Mode: mode, UID: uid, ModTime: 1_000_000_000*second + 500, Size: int64(len(files[path]))}
	}
	link := func(x filetree.Entry, to string) filetree.Entry {
		x.Link = to
		return x
	}
	owned := e("etc/passwd", filetree.Regular, 0o640)
	owned.UID, owned.GID = 1234, 5678
	device := e("dev/null", filetree.CharDevice, 0o666)
	device.Major, device.Minor = 1, 3
	tool := e("bin/tool", filetree.Regular, 0o4755)
	tool.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	tree, err := filetree.Empty().Apply([]filetree.Entry{
		e("bin", filetree.Directory, 0o755), tool, link(e("bin/again", filetree.Hardlink, 0), "bin/tool"),
		e("dev", filetree.Directory, 0o555), device, e("dev/pipe", filetree.FIFO, 0o600),
		e("etc", filetree.Directory, 0o1777), owned, e("etc/empty", filetree.Regular, 0o600), e("etc/escape", filetree.Regular, 0o644),
		link(e("lib", filetree.Symlink, 0o777), "/etc"), link(e("up", filetree.Symlink, 0o777), "../../../.."),
	}, &contents{files})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTar(t *testing.T) {
	t.Parallel()
	var first, second bytes.Buffer
	if err := Write(t.Context(), Spec{Type: TypeTar, Dest: "-"}, Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}, Stdout: &first}); err != nil {
		t.Fatal(err)
	}
	if err := WriteTar(t.Context(), &second, Files{Tree: testTree(t)}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same files give different tars")
	}
	var got []string
	for tr := tar.NewReader(&first); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.UnixNano() != 1e18 {
			t.Errorf("%s has time %s", h.Name, h.ModTime)
		}
		got = append(got, fmt.Sprintf("%c %s %o %d:%d %s %q %d.%d %d", h.Typeflag, h.Name, h.Mode, h.Uid, h.Gid, h.Linkname, content, h.Devmajor, h.Devminor, len(h.PAXRecords["SCHILY.xattr.security.capability"])))
	}
	u := os.Geteuid()
	want := []string{
		fmt.Sprintf(`5 bin/ 755 %d:0  "" 0.0 0`, u),
		fmt.Sprintf(`0 bin/again 4755 %d:0  "#!/bin/sh\n" 0.0 20`, u),
		fmt.Sprintf(`1 bin/tool 4755 %d:0 bin/again "" 0.0 20`, u),
		fmt.Sprintf(`5 dev/ 555 %d:0  "" 0.0 0`, u),
		fmt.Sprintf(`3 dev/null 666 %d:0  "" 1.3 0`, u),
		fmt.Sprintf(`6 dev/pipe 600 %d:0  "" 0.0 0`, u),
		fmt.Sprintf(`5 etc/ 1777 %d:0  "" 0.0 0`, u),
		fmt.Sprintf(`0 etc/empty 600 %d:0  "" 0.0 0`, u),
		fmt.Sprintf(`0 etc/escape 644 %d:0  "from the image\n" 0.0 0`, u),
		`0 etc/passwd 640 1234:5678  "root\n" 0.0 0`,
		fmt.Sprintf(`2 lib 777 %d:0 /etc "" 0.0 0`, u),
		fmt.Sprintf(`2 up 777 %d:0 ../../../.. "" 0.0 0`, u),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestTarOfDirectory(t *testing.T) {
	t.Parallel()
	epoch := time.Unix(42, 0)
	for src, want := range map[string]string{"/etc": "empty escape passwd", "lib": "empty escape passwd", "/bin/": "again tool"} {
		var out bytes.Buffer
		if err := Write(t.Context(), Spec{Type: TypeTar, Dest: "-", Source: src}, Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}, Stdout: &out, Epoch: &epoch}); err != nil {
			t.Fatal(err)
		}
		var names []string
		for tr := tar.NewReader(&out); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if !h.ModTime.Equal(epoch) {
				t.Errorf("%s has time %s", h.Name, h.ModTime)
			}
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("src %q holds %q, want %q", src, got, want)
		}
	}
	for src, want := range map[string]string{"nowhere": "no such file", "etc/passwd": "name a directory"} {
		err := Write(t.Context(), Spec{Type: TypeTar, Dest: "-", Source: src}, Request{Trees: []PlatformTree{{"linux/amd64", testTree(t)}}, Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("src %q: error %v does not say %q", src, err, want)
		}
	}
}
