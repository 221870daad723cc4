package buildcontext

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// write makes a directory of files: "dir/" and "link -> target" and "name" with its content.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, strings.Split(name, " -> ")[0])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		_, target, link := strings.Cut(name, " -> ")
		var err error
		switch {
		case link:
			err = os.Symlink(target, file)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(file, 0o755)
		default:
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t testing.TB, dir string, o Options) *Context {
	t.Helper()
	c, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// list names the paths of a tree: "dir/", "name", "link -> target".
func list(t testing.TB, tree *filetree.Tree) []string {
	t.Helper()
	names := []string{}
	err := tree.Walk("", func(p string, n *filetree.Node) (bool, error) {
		switch {
		case p == "":
		case n.IsDir():
			names = append(names, p+"/")
		case n.Type() == filetree.Symlink:
			names = append(names, p+" -> "+n.Link())
		default:
			names = append(names, p)
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func mustTree(t testing.TB, c *Context, wanted ...string) *filetree.Tree {
	t.Helper()
	tree, err := c.Tree(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTree(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"a/b/c.go": "c", "a/b/d.txt": "d", "a/x1/y": "", "a/x2/y": "", "a/x2/z": "", "b/empty/": "", "top.go": "", "top.txt": "",
		"l -> a/b": "", "abs -> /a/x1": "", "a/up -> ../b": "", "wild/c.conf -> ../b": "", "wild/d.conf": "", "out -> ../../../../etc": "",
		"loop -> loop/x": "", "one -> two": "", "two -> one": "", "brackets[0]": "", "mid/l2 -> ../a": "", "side/by -> deep/x": "", "side/deep/x": "",
	}
	dir := write(t, files)
	tests := map[string]struct {
		ignore string
		wanted []string
		want   []string
	}{
		"nothing":              {"", nil, []string{}},
		"a directory":          {"", []string{"a/b"}, []string{"a/", "a/b/", "a/b/c.go", "a/b/d.txt"}},
		"as if absolute":       {"", []string{"/a/b/"}, []string{"a/", "a/b/", "a/b/c.go", "a/b/d.txt"}},
		"a file":               {"", []string{"a/b/../b/./c.go"}, []string{"a/", "a/b/", "a/b/c.go"}},
		"two":                  {"", []string{"a/b/c.go", "a/x1"}, []string{"a/", "a/b/", "a/b/c.go", "a/x1/", "a/x1/y"}},
		"part and whole":       {"", []string{"a/b/c.go", "a/b"}, []string{"a/", "a/b/", "a/b/c.go", "a/b/d.txt"}},
		"missing":              {"", []string{"a/nothing/x", "top.go/x"}, []string{"a/", "top.go"}},
		"pattern":              {"", []string{"*.go"}, []string{"top.go"}},
		"pattern in between":   {"", []string{"a/x*/z"}, []string{"a/", "a/x1/", "a/x2/", "a/x2/z"}},
		"pattern of a dir":     {"", []string{"b*"}, []string{"b/", "b/empty/", "brackets[0]"}},
		"any depth":            {"", []string{"a/b/**"}, []string{"a/", "a/b/", "a/b/c.go", "a/b/d.txt"}},
		"escaped":              {"", []string{`brackets\[0\]`}, []string{"brackets[0]"}},
		"link":                 {"", []string{"l"}, []string{"a/", "a/b/", "a/b/c.go", "a/b/d.txt", "l -> a/b"}},
		"below a link":         {"", []string{"l/c.go"}, []string{"a/", "a/b/", "a/b/c.go", "l -> a/b"}},
		"pattern below a link": {"", []string{"l/*.go"}, []string{"a/", "a/b/", "a/b/c.go", "l -> a/b"}},
		"absolute link":        {"", []string{"abs"}, []string{"a/", "a/x1/", "a/x1/y", "abs -> /a/x1"}},
		"link after a link":    {"", []string{"mid/l2/up"}, []string{"a/", "a/up -> ../b", "b/", "b/empty/", "mid/", "mid/l2 -> ../a"}},
		"link beside":          {"", []string{"side/by"}, []string{"side/", "side/by -> deep/x", "side/deep/", "side/deep/x"}},
		"pattern of links":     {"", []string{"wild/*.conf"}, []string{"b/", "b/empty/", "wild/", "wild/c.conf -> ../b", "wild/d.conf"}},
		"links below stay":     {"", []string{"wild"}, []string{"wild/", "wild/c.conf -> ../b", "wild/d.conf"}},
		"whole, and a link":    {"", []string{"wild", "wild/c.conf"}, []string{"b/", "b/empty/", "wild/", "wild/c.conf -> ../b", "wild/d.conf"}},
		"any depth, and link":  {"", []string{"wild/**", "wild/c.conf"}, []string{"b/", "b/empty/", "wild/", "wild/c.conf -> ../b", "wild/d.conf"}},
		"link to the outside":  {"", []string{"out/passwd"}, []string{"out -> ../../../../etc"}},
		"growing loop":         {"", []string{"loop"}, []string{"loop -> loop/x"}},
		"loop":                 {"", []string{"one"}, []string{"one -> two", "two -> one"}},
		"ignored":              {"a/b\n**/y", []string{"a", "b"}, []string{"a/", "a/up -> ../b", "a/x1/", "a/x2/", "a/x2/z", "b/", "b/empty/"}},
		"ignored parent":       {"a", []string{"a/b"}, []string{}},
		"all but":              {"*\n!a/b/*.go\n!top.txt", []string{"."}, []string{"a/", "a/b/", "a/b/c.go", "top.txt"}},
		"all but, in order":    {"*\n!a\na/x*\n!a/x2/z", []string{"a"}, []string{"a/", "a/b/", "a/b/c.go", "a/b/d.txt", "a/up -> ../b", "a/x2/", "a/x2/z"}},
		"any depth but":        {"**\n!**/c.go", []string{"a"}, []string{"a/", "a/b/", "a/b/c.go"}},
		"link to ignored":      {"a", []string{"l"}, []string{"l -> a/b"}},
		"ignored link":         {"l", []string{"l/c.go"}, []string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ignore := filepath.Join(t.TempDir(), "ignore")
			if err := os.WriteFile(ignore, []byte(tt.ignore), 0o644); err != nil {
				t.Fatal(err)
			}
			c := open(t, dir, Options{IgnoreFile: ignore})
			if diff := cmp.Diff(tt.want, list(t, mustTree(t, c, tt.wanted...))); diff != "" {
				t.Errorf("Tree(%q) behind %q (-want +got):\n%s", tt.wanted, tt.ignore, diff)
			}
		})
	}
}

func TestTreeEntries(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"d/x": "hello", "s -> x": "", "empty": "", "cap": "#!"})
	at := func(name string) string { return filepath.Join(dir, name) }
	when := time.Unix(1234567890, 987654321)
	steps := []error{
		os.Link(at("d/x"), at("d/a")), os.Link(at("d/x"), at("z")),
		unix.Mkfifo(at("p"), 0o600), unix.Mknod(at("sock"), unix.S_IFSOCK|0o711, 0),
		os.Chmod(at("cap"), 0o755), unix.Setxattr(at("cap"), capabilityXattr, []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
		os.Lchown(at("d/x"), 1000, 1001), os.Lchown(at("s"), 1000, 1001),
		unix.Chmod(at("d/x"), 0o4755), unix.Chmod(at("d"), 0o1777),
		os.Chtimes(at("d/x"), when, when), os.Chtimes(at("d"), when, when), os.Chtimes(dir, when, when),
	}
	device := unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	for _, err := range steps {
		if err != nil {
			t.Fatal(err) // these tests run as root, as builds do
		}
	}
	if err := os.Chtimes(dir, when, when); err != nil {
		t.Fatal(err)
	}
	tree := mustTree(t, open(t, dir, Options{}), ".")
	entry := func(p string) filetree.Entry {
		n, ok := tree.Lookup(p)
		if !ok {
			t.Fatalf("%q is missing", p)
		}
		return n.Entry(p)
	}
	want := filetree.Entry{Path: "d/x", Type: filetree.Regular, Mode: 0o4755, Size: 5, ModTime: when.UnixNano()}
	got := entry("d/x")
	got.Offset = 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for p, mode := range map[string]uint16{"d": 0o1777} {
		if e := entry(p); e.Type != filetree.Directory || e.Mode != mode || e.ModTime != when.UnixNano() {
			t.Errorf("%q: %+v", p, e)
		}
	}
	if e := entry(""); e.ModTime != when.UnixNano() {
		t.Errorf("the root: %+v", e)
	}
	if e := entry("s"); e.Type != filetree.Symlink || e.Link != "x" || e.UID != 0 || e.GID != 0 {
		t.Errorf("s: %+v", e)
	}
	if e := entry("p"); e.Type != filetree.FIFO || e.Mode != 0o600 {
		t.Errorf("p: %+v", e)
	}
	if e := entry("sock"); e.Type != filetree.Regular || e.Size != 0 || e.Mode != 0o711 {
		t.Errorf("sock: %+v", e)
	}
	if e := entry("empty"); !e.Digest.Known() {
		t.Errorf("empty: %+v", e)
	}
	if e := entry("cap"); len(e.Xattrs[capabilityXattr]) != 20 {
		t.Errorf("cap: %+v", e)
	}
	if device == nil {
		if e := entry("null"); e.Type != filetree.CharDevice || e.Major != 1 || e.Minor != 3 {
			t.Errorf("null: %+v", e)
		}
	}
	first, _ := tree.Lookup("d/a")
	for _, p := range []string{"d/x", "z"} {
		if n, _ := tree.Lookup(p); !n.SameFile(first) {
			t.Errorf("%q is no hardlink of d/a", p)
		}
		n, _ := tree.Lookup(p)
		source, ref := n.Source(p)
		if text, err := content(t.Context(), source, ref); err != nil || text != "hello" {
			t.Errorf("%q: %q, %v", p, text, err)
		}
	}
}

func content(ctx context.Context, s filetree.Source, ref filetree.Ref) (string, error) {
	f, err := s.Open(ctx, ref)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(f)
	return string(text), errors.Join(err, f.Close())
}

// TestDirectoryReplacedDuringWalk has a directory become a symlink to the outside between the listing and the opening.
func TestDirectoryReplacedDuringWalk(t *testing.T) {
	t.Parallel()
	outside := write(t, map[string]string{"secret": "secret"})
	dir := write(t, map[string]string{"d/x": "x"})
	c := open(t, dir, Options{Workers: 1})
	w := &walker{root: c.root, ignore: c.ignore}
	r, err := w.reader()
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := w.list(r, task{wants: wants{all: true}, into: &listing{}})
	if err != nil || len(tasks) != 1 {
		t.Fatal(tasks, err)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "d")), os.Symlink(outside, filepath.Join(dir, "d"))); err != nil {
		t.Fatal(err)
	}
	if _, err := w.list(r, tasks[0]); !errors.Is(err, errChanged) || !strings.Contains(err.Error(), `"d"`) {
		t.Errorf("error %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.list(r, tasks[0]); err != nil {
		t.Errorf("a deleted directory: %v", err)
	}
}

// TestUnreadable runs itself again as a user who cannot read everything.
func TestUnreadable(t *testing.T) {
	if dir := os.Getenv("UNREADABLE_CONTEXT"); dir != "" {
		testUnreadable(t, dir)
		return
	}
	t.Parallel()
	dir := write(t, map[string]string{"a/x": "x", "secret/x": "x"})
	if err := os.Chmod(filepath.Join(dir, "secret"), 0); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	child := exec.Command("/proc/self/exe", "-test.run=^TestUnreadable$", "-test.v")
	child.Env = append(os.Environ(), "UNREADABLE_CONTEXT="+dir, "GOCOVERDIR="+dir)
	child.Dir = "/"
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestUnreadable")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func testUnreadable(t *testing.T, dir string) {
	c := open(t, dir, Options{Dockerfile: NoDockerfile})
	_, err := c.Tree(t.Context(), []string{"."})
	if err == nil || !strings.Contains(err.Error(), `read directory "secret" of the build context: permission denied`) {
		t.Errorf("error %v", err)
	}
	mustTree(t, c, "a")
	for _, ignore := range []string{"secret", "secret\n!secret/x", "*\n!a"} {
		if c.ignore, err = parseIgnoreFile("ignore", []byte(ignore)); err != nil {
			t.Fatal(err)
		}
		mustTree(t, c, ".")
	}
}
