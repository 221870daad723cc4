package snapshot_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

func TestMain(m *testing.M) { rootfstest.Main(m) }

// TestUserNamespace runs the tests where one id is mapped and overlayfs's marks are other ones.
func TestUserNamespace(t *testing.T) {
	if rootfstest.InNamespace() {
		return // this is the run in the namespace
	}
	t.Parallel()
	rootfstest.Again(t)
}

// stamp is the modification time of all files of the base, whole seconds as in a layer.
const stamp = 1_600_000_000 * 1_000_000_000

// base is what the tests' processes start from.
func base() ([]filetree.Entry, *contents) {
	c := &contents{text: map[string]string{}}
	entry := func(p string, t filetree.Type, mode uint16) filetree.Entry {
		return filetree.Entry{Path: p, Type: t, Mode: mode, ModTime: stamp}
	}
	dir := func(p string) filetree.Entry { return entry(p, filetree.Directory, 0o755) }
	file := func(p, text string) filetree.Entry {
		e := entry(p, filetree.Regular, 0o644)
		e.Size, e.Digest = int64(len(text)), sha256.Sum256([]byte(text))
		e.Offset = int64(512 * (1 + len(c.order)))
		c.text[p] = text
		c.order = append(c.order, p)
		return e
	}
	link := func(p, target string, t filetree.Type) filetree.Entry {
		e := entry(p, t, 0o777)
		e.Link = target
		return e
	}
	unread := file("unread", "nobody read it")
	unread.Digest = filetree.Digest{}
	foreign := file("foreign", "x")
	foreign.UID, foreign.GID = 33, 44
	capable := file("ping", "ping")
	capable.Xattrs = map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	return []filetree.Entry{
		dir(""), dir("d"), file("d/a", "a"), file("d/b", "b"), dir("d/sub"), file("d/sub/x", "x"), dir("d/sub/deep"), file("d/sub/deep/y", "y"),
		file("f", "file"), file("empty", ""), link("l", "f", filetree.Symlink), entry("p", filetree.FIFO, 0o600),
		file("h1", "hard"), link("h2", "h1", filetree.Hardlink), unread, foreign, capable, dir("other"), file("other/o", "o"),
		file("twin1", "twin"), file("twin2", "twin"),
	}, c
}

// contents is a source of the base's files.
type contents struct {
	text  map[string]string
	order []string
}

func (c *contents) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	text, ok := c.text[ref.Path]
	if !ok {
		return nil, fmt.Errorf("no %q", ref.Path)
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

// run runs a shell script in a rootfs of the base and returns what it changed, having checked that this, applied to the
// base, is what the script left.
func run(t *testing.T, script string) (string, *filetree.Tree, []filetree.Change) {
	t.Helper()
	opts := rootfstest.Options(t)
	entries, source := base()
	lower, err := filetree.Empty().Apply(entries, source)
	if err != nil {
		t.Fatal(err)
	}
	lowerDir, upper := t.TempDir(), t.TempDir()
	unpack(t, lowerDir, entries, source)
	if err := rootfs.MakeUpper(upper, lower, opts); err != nil {
		t.Fatal(err)
	}
	var after []string
	rootfstest.Mount(t, []string{lowerDir}, upper, func(dir string) {
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Dir = dir
		var out []byte
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
			return
		}
		after, err = rootfstest.Dump(dir)
	})
	if err != nil {
		t.Fatal(err)
	}
	changes, err := snapshot.Upper(t.Context(), upper, lower, snapshot.Options{Form: opts.Form, Owners: opts.Owners})
	if err != nil {
		t.Fatal(err)
	}
	merged, err := lower.ApplyChanges(changes)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(recordable(after), recordable(rootfstest.Expect(t, merged))); diff != "" {
		t.Errorf("rootfs (-disk +tree with changes):\n%s", diff)
	}
	return upper, lower, changes
}

// unpack makes the base on disk.
func unpack(t testing.TB, dir string, entries []filetree.Entry, source *contents) {
	t.Helper()
	_, err := rootfs.UnpackMerged(t.Context(), dir, []rootfs.Layer{{Entries: entries, Read: func(_ context.Context, visit func(filetree.Entry, io.Reader) error) error {
		for _, e := range entries {
			if err := visit(e, strings.NewReader(source.text[e.Path])); err != nil {
				return err
			}
		}
		return nil
	}}}, rootfstest.Options(t))
	if err != nil {
		t.Fatal(err)
	}
}

// recordable drops what no layer holds: sockets, the times of directories, and fractions of seconds. It also drops which
// names are one file: overlayfs forgets that when it copies one up, and may forget it where it has no "trusted" attributes.
func recordable(lines []string) []string {
	var out []string
	files := map[string][]string{}
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) == 3 { // name = name
			out = append(out, strings.Join(append([]string{strconv.Quote(f[0])}, files[strconv.Quote(f[2])][1:]...), " "))
			continue
		}
		files[f[0]] = f
		if strings.HasPrefix(f[1], "140") {
			continue
		}
		f[3] = f[3][:len(f[3])-9]
		if strings.HasPrefix(f[1], "40") {
			f[3] = "-"
		}
		out = append(out, strings.Join(f, " "))
	}
	return out
}

// scripted is a script and what it changes.
type scripted struct {
	script string
	want   []string
}

// scripts are what both ways to find changes are tried with: they find the same.
func scripts() map[string]scripted {
	const (
		del = "whiteout "
		new = "file "
	)
	return map[string]scripted{
		"nothing":                                {`true`, nil},
		"nothing that lasts":                     {`echo >new; mkdir dir; rm new; rmdir dir`, nil},
		"a directory's time":                     {`touch d; touch d/sub/deep`, nil},
		"a file's time":                          {`touch d/a`, []string{"directory d", "file d/a"}},
		"a file's time within the second":        {`touch -d @1600000000.5 f`, nil},
		"a new file":                             {`echo hi >d/sub/n`, []string{"directory d", "directory d/sub", "file d/sub/n"}},
		"content, the rest being equal":          {`printf elif >f; touch -d @1600000000 f`, []string{"file f"}},
		"the same content":                       {`printf file >f; touch -d @1600000000 f`, nil},
		"copied up for nothing":                  {`chmod 700 f d; chmod 644 f; chmod 755 d; touch -a d/a`, nil},
		"the same, its digest unknown":           {`chmod 700 unread; chmod 644 unread`, []string{"file unread"}},
		"an empty file again":                    {`rm empty; : >empty; touch -d @1600000000 empty`, nil},
		"mode of a file":                         {`chmod 4755 f`, []string{"file f"}},
		"mode of a directory":                    {`chmod 700 d/sub`, []string{"directory d", "directory d/sub"}},
		"a symlink's target":                     {`ln -sfn other l; touch -h -d @1600000000 l`, []string{"symlink l -> other"}},
		"a symlink as it was":                    {`rm l; ln -s f l; touch -h -d @1600000000 l`, nil},
		"a FIFO as it was":                       {`rm p; mkfifo -m 600 p; touch -d @1600000000 p`, nil},
		"a FIFO of another mode":                 {`chmod 640 p`, []string{"fifo p"}},
		"deleted":                                {`rm f d/a; rm -r other`, []string{"directory d", del + "d/a", del + "f", del + "other"}},
		"deleted and made anew with less":        {`rm -r d; mkdir d; echo b >d/b`, []string{"directory d", del + "d/a", new + "d/b", del + "d/sub"}},
		"deleted and made anew, deeply":          {`rm -r d; mkdir -p d/sub/deep; echo z >d/sub/z`, []string{"directory d", del + "d/a", del + "d/b", "directory d/sub", "directory d/sub/deep", del + "d/sub/deep/y", del + "d/sub/x", new + "d/sub/z"}},
		"made anew as it was":                    {`rm -r other; mkdir other; printf o >other/o; touch -d @1600000000 other/o`, nil},
		"made anew below a deleted one":          {`rm -r d; mkdir -p d/sub; printf x >d/sub/x; touch -d @1600000000 d/sub/x`, []string{"directory d", del + "d/a", del + "d/b", "directory d/sub", del + "d/sub/deep"}},
		"a directory for a file":                 {`rm f; mkdir f; echo >f/a`, []string{"directory f", new + "f/a"}},
		"a file for a directory":                 {`rm -r d; echo >d`, []string{new + "d"}},
		"a symlink for a directory":              {`mv other o2; ln -s o2 other`, []string{"directory o2", new + "o2/o", "symlink other -> o2"}},
		"a directory for a symlink":              {`rm l; mkdir l`, []string{"directory l"}},
		"hardlinks":                              {`echo x >n2; ln n2 n1; ln n2 d/n3`, []string{"directory d", new + "d/n3", "hardlink n1 -> d/n3", "hardlink n2 -> d/n3"}},
		"a hardlink to a file that was there":    {`ln f g`, []string{"file f", "hardlink g -> f"}},
		"a hardlink with its other name deleted": {`ln f g; rm g`, nil},
		"hardlinked symlinks":                    {`ln -s x n1; ln n1 n2`, []string{"symlink n1 -> x", "hardlink n2 -> n1"}},
		"equal files made one":                   {`printf o >o2; touch -d @1600000000 o2; ln -f o2 other/o`, []string{new + "o2", "directory other", "hardlink other/o -> o2"}},
		"two that were there made one":           {`ln -f twin1 twin2`, []string{"file twin1", "hardlink twin2 -> twin1"}},
		"a hardlink cut off":                     {`cp -p h1 t; mv t h1`, nil},
		"renamed":                                {`mv f g`, []string{del + "f", new + "g"}},
		"a capability dropped":                   {`cp ping ping2; mv ping2 ping; touch -d @1600000000 ping`, []string{"file ping"}},
		"a name that sorts between":              {`mkdir a a-b; echo >a/x; echo >a-b/x`, []string{"directory a", new + "a/x", "directory a-b", new + "a-b/x"}},
		"a directory nobody may enter":           {`mkdir n; echo >n/x; chmod 0 n/x n`, []string{"directory n", new + "n/x"}},
	}
}

// TestUpper runs scripts and lists what they change. A digest after "known" says that the content was compared.
func TestUpper(t *testing.T) {
	t.Parallel()
	for name, tt := range scripts() {
		t.Run(strings.ReplaceAll(name, ",", ""), func(t *testing.T) {
			t.Parallel()
			upper, _, changes := run(t, tt.script)
			if diff := cmp.Diff(tt.want, list(changes)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			checkContents(t, upper, changes)
		})
	}
}

func list(changes []filetree.Change) []string {
	var out []string
	for _, c := range changes {
		l := c.Type.String() + " " + c.Path
		if c.Link != "" {
			l += " -> " + c.Link
		}
		out = append(out, l)
	}
	return out
}

// checkContents reads all that changed through the changes' source.
func checkContents(t *testing.T, upper string, changes []filetree.Change) {
	t.Helper()
	for i, c := range changes {
		if i > 0 && filetree.Compare(changes[i-1].Path, c.Path) >= 0 {
			t.Errorf("%q comes after %q", c.Path, changes[i-1].Path)
		}
		for name := range c.Xattrs {
			if name != "security.capability" {
				t.Errorf("%q has the attribute %s", c.Path, name)
			}
		}
		if c.Type != filetree.Regular || c.Size == 0 {
			if c.Source != nil {
				t.Errorf("%s %q has a source", c.Type, c.Path)
			}
			continue
		}
		r, err := c.Source.Open(t.Context(), c.From)
		if err != nil {
			t.Error(err)
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		want, err := os.ReadFile(upper + "/" + c.Path)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("content of %q (-disk +source):\n%s", c.Path, diff)
		}
		if c.Digest.Known() && c.Digest != sha256.Sum256(want) {
			t.Errorf("digest of %q is wrong", c.Path)
		}
	}
}
