package output

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

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
	if err := Write(t.Context(), Spec{Type: TypeTar, Dest: "-"}, Request{Tree: testTree(t), Stdout: &first}); err != nil {
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
		if err := Write(t.Context(), Spec{Type: TypeTar, Dest: "-", Source: src}, Request{Tree: testTree(t), Stdout: &out, Epoch: &epoch}); err != nil {
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
		err := Write(t.Context(), Spec{Type: TypeTar, Dest: "-", Source: src}, Request{Tree: testTree(t), Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("src %q: error %v does not say %q", src, err, want)
		}
	}
}

// describe lists a directory: type and mode, owner, path, content or target.
func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %q", st.Nlink, content)
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + to
		case info.Mode()&os.ModeDevice != 0:
			text += fmt.Sprintf(" %d.%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		rel, err := filepath.Rel(dir, path)
		out[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantTree() map[string]string {
	u := fmt.Sprint(os.Geteuid(), ":", 0)
	return map[string]string{
		"bin": "40755 " + u, "bin/tool": "104755 " + u + ` 2 "#!/bin/sh\n"`, "bin/again": "104755 " + u + ` 2 "#!/bin/sh\n"`,
		"dev": "40555 " + u, "dev/null": "20666 " + u + " 1.3", "dev/pipe": "10600 " + u,
		"etc": "41777 " + u, "etc/passwd": `100640 1234:5678 1 "root\n"`, "etc/empty": "100600 " + u + ` 1 ""`,
		"etc/escape": "100644 " + u + ` 1 "from the image\n"`, "lib": "120777 " + u + " /etc", "up": "120777 " + u + " ../../../..",
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("giving files away and making devices takes root; TestDirectoryAsUser shows the rest")
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dest := filepath.Join(t.TempDir(), "deep/out")
	for range 2 { // the second time onto what the first left
		var notes []string
		r := Request{Tree: testTree(t), Note: func(s string) { notes = append(notes, s) }}
		if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest}, r); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantTree(), describe(t, dest)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if len(notes) > 0 {
			t.Errorf("notes: %q", notes)
		}
	}
	for _, p := range []string{"bin", "bin/tool", "lib", "dev/pipe"} {
		info, err := os.Lstat(filepath.Join(dest, p))
		if err != nil || info.ModTime().UnixNano() != 1_000_000_000*second+500 {
			t.Errorf("%s has time %v, error %v", p, info.ModTime(), err)
		}
	}
	if n, err := unix.Getxattr(filepath.Join(dest, "bin/tool"), "security.capability", make([]byte, 64)); n != 20 || err != nil {
		t.Errorf("the capability has %d bytes, error %v", n, err)
	}
}

// What is in the way is replaced, what is not of the image stays or goes, and nothing outside is touched.
func TestDirectoryOverExisting(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, mode := range []Existing{"", ExistingKeep, ExistingDelete} {
		t.Run("mode "+string(mode), func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dest, outside := filepath.Join(top, "dest"), filepath.Join(top, "outside")
			if err := errors.Join(
				os.MkdirAll(outside, 0o700), os.WriteFile(filepath.Join(outside, "escape"), []byte("mine"), 0o600), os.Mkdir(dest, 0o700),
				os.Symlink(outside, filepath.Join(dest, "etc")),                                   // a directory in the image
				os.MkdirAll(filepath.Join(dest, "bin"), 0o700),                                    //
				os.Symlink(filepath.Join(outside, "escape"), filepath.Join(dest, "bin/tool")),     // a file in the image
				os.MkdirAll(filepath.Join(dest, "lib/full/of/things"), 0o700),                     // a symlink in the image
				os.WriteFile(filepath.Join(dest, "dev"), []byte("a file"), 0o600),                 // a directory in the image
				os.WriteFile(filepath.Join(dest, "other"), []byte("stays"), 0o600),                //
				os.Symlink(outside, filepath.Join(dest, "outward")),                               //
				os.MkdirAll(filepath.Join(dest, "bin/more/things"), 0o700),                        //
				os.WriteFile(filepath.Join(dest, "bin/more/things/file"), []byte("stays"), 0o600), //
			); err != nil {
				t.Fatal(err)
			}
			if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest, Existing: mode}, Request{Tree: testTree(t)}); err != nil {
				t.Fatal(err)
			}
			want := wantTree()
			if mode != ExistingDelete {
				want["other"], want["outward"] = `100600 0:0 1 "stays"`, "120777 0:0 "+outside
				want["bin/more"], want["bin/more/things"], want["bin/more/things/file"] = "40700 0:0", "40700 0:0", `100600 0:0 1 "stays"`
			}
			if diff := cmp.Diff(want, describe(t, dest)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"escape": `100600 0:0 1 "mine"`}, describe(t, outside)); diff != "" {
				t.Errorf("files outside (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDirectoryOfImageDirectory(t *testing.T) {
	t.Parallel()
	dest := t.TempDir()
	if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest, Source: "/bin"}, Request{Tree: testTree(t)}); err != nil {
		t.Fatal(err)
	}
	got := describe(t, dest)
	if len(got) != 2 || !strings.Contains(got["tool"], ` 2 "#!`) {
		t.Errorf("files %v", got)
	}
	err := Write(t.Context(), Spec{Type: TypeLocal, Dest: "/"}, Request{Tree: testTree(t)})
	if err == nil || !strings.Contains(err.Error(), "name another one") {
		t.Errorf(`dest "/": error %v`, err)
	}
}

// A file whose content is not what the tree says is an error, and leaves the old file.
func TestDirectoryContentFails(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"short": "x", "long": "xxx"} {
		dest := t.TempDir()
		if err := os.WriteFile(filepath.Join(dest, "f"), []byte("before"), 0o600); err != nil {
			t.Fatal(err)
		}
		tree, err := filetree.Empty().Apply([]filetree.Entry{{Path: "f", Type: filetree.Regular, Size: 2}}, &contents{map[string]string{"f": content}})
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest}, Request{Tree: tree}); err == nil || !strings.Contains(err.Error(), `read "f"`) {
			t.Errorf("%s: error %v", name, err)
		}
		if got := describe(t, dest); len(got) != 1 || !strings.Contains(got["f"], "before") {
			t.Errorf("%s: files %v", name, got)
		}
	}
}

// asUserEnv makes the test binary write the tree to the directory it names.
const asUserEnv = "TROWEL_TEST_OUTPUT_AS_USER"

func TestDirectoryAsUser(t *testing.T) {
	t.Parallel()
	if dest := os.Getenv(asUserEnv); dest != "" {
		r := Request{Tree: testTree(t), Note: func(s string) { fmt.Println("note:", s) }}
		if err := Write(t.Context(), Spec{Type: TypeLocal, Dest: dest}, r); err != nil {
			t.Fatal(err)
		}
		return
	}
	needRoot(t)
	dest, err := os.MkdirTemp("/tmp", "trowel-output")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dest) })
	if err := os.Chown(dest, 4321, 4321); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out := runAsUser(t, dest)
		for _, want := range []string{"1 devices were left out", "files belong to uid 4321", "lost their capabilities"} {
			if !strings.Contains(out, want) {
				t.Errorf("no note says %q: %s", want, out)
			}
		}
		want := map[string]string{}
		for p, text := range wantTree() {
			fields := strings.SplitN(text, " ", 3)
			fields[1] = "4321:4321"
			want[p] = strings.Join(fields, " ")
		}
		delete(want, "dev/null")
		if diff := cmp.Diff(want, describe(t, dest)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}
