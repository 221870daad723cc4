package snapshot_test

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/executor"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/rootfs/rootfstest"
	"github.com/trowel-build/trowel/host/internal/snapshot"
)

// plain is a plain directory of the base, recorded.
type plain struct {
	*testing.T
	dir    string
	tree   *filetree.Tree
	record *snapshot.Record
}

func newPlain(t *testing.T) *plain {
	t.Helper()
	entries, source := base()
	tree, err := filetree.Empty().Apply(entries, source)
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{T: t, dir: t.TempDir(), tree: tree}
	unpack(t, p.dir, entries, source)
	p.take()
	return p
}

func (p *plain) options() snapshot.Options {
	return snapshot.Options{Owners: rootfstest.Options(p).Owners}
}

func (p *plain) take() {
	p.Helper()
	var err error
	if p.record, err = snapshot.Take(p.Context(), p.dir, p.options()); err != nil {
		p.Fatal(err)
	}
	p.await()
}

func (p *plain) await() {
	p.Helper()
	if err := p.record.Await(p.Context()); err != nil {
		p.Fatal(err)
	}
}

// sh runs a script in the directory.
func (p *plain) sh(script string) {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), "sh", "-euc", script)
	cmd.Dir = p.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("%v: %s", err, out)
	}
}

// changes are what was changed since the last time. The tree follows, and must be what is on disk.
func (p *plain) changes(shifts ...executor.Shift) []filetree.Change {
	p.Helper()
	changes, after, err := p.record.Changes(p.Context(), p.tree, shifts, p.options())
	if err != nil {
		p.Fatal(err)
	}
	if p.tree, err = p.tree.ApplyChanges(changes); err != nil {
		p.Fatal(err)
	}
	p.record = after
	p.await()
	return changes
}

func (p *plain) expect(what string, want []string, got []filetree.Change) {
	p.Helper()
	if diff := cmp.Diff(want, list(got)); diff != "" {
		p.Errorf("%s: changes (-want +got):\n%s", what, diff)
	}
}

// TestChanges runs the scripts of TestUpper in a plain directory, twice: what a script changed counts once.
func TestChanges(t *testing.T) {
	t.Parallel()
	for name, tt := range scripts() {
		t.Run(strings.ReplaceAll(name, ",", ""), func(t *testing.T) {
			t.Parallel()
			p := newPlain(t)
			p.expect("before", nil, p.changes())
			p.sh(tt.script)
			changes := p.changes()
			p.expect("the script", tt.want, changes)
			checkContents(t, p.dir, changes)
			p.expect("afterwards", nil, p.changes())
			after, err := rootfstest.Dump(p.dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(recordable(after), recordable(rootfstest.Expect(t, p.tree))); diff != "" {
				t.Errorf("directory (-disk +tree with changes):\n%s", diff)
			}
		})
	}
}

// TestHardlinksThatWereThere stay names of one file: overlayfs would cut them off, and show one of them changed.
func TestHardlinksThatWereThere(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	p.sh(`echo more >>h1`)
	p.expect("changed by one name", []string{"file h1", "hardlink h2 -> h1"}, p.changes())
}

// TestSocket is never in a layer, and deletes what it replaced, once.
func TestSocket(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	p.sh(`rm f`)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/f", dir.Fd())}); err != nil {
		t.Fatal(err)
	}
	p.expect("a socket", []string{"whiteout f"}, p.changes())
	p.sh(`rm f`)
	p.expect("the socket deleted", nil, p.changes())
	_ = unix.Close(fd)
	_ = dir.Close()
}

// TestWithinATick changes files twice within one tick of the clock, between which they were recorded.
func TestWithinATick(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	missed, unseen := 0, 0
	for i := range 200 {
		name := filepath.Join(p.dir, "other/o")
		stamp := []unix.Timespec{{Sec: 1_600_000_000}, {Sec: 1_600_000_000}}
		write := func(text string) {
			t.Helper()
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(text); err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, stamp, 0); err != nil {
				t.Fatal(err)
			}
		}
		write(string(rune('a' + i%2)))
		var before, after unix.Stat_t
		record, err := snapshot.Take(t.Context(), p.dir, p.options())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(name, &before); err != nil {
			t.Fatal(err)
		}
		write("c")
		if err := unix.Stat(name, &after); err != nil {
			t.Fatal(err)
		}
		if before.Ctim == after.Ctim {
			unseen++ // by the time alone
		}
		changes, _, err := record.Changes(t.Context(), p.tree, nil, p.options())
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) != 2 {
			missed++
		}
	}
	if missed > 0 {
		t.Errorf("%d changes were missed", missed)
	}
	t.Logf("%d changes left the status change time as it was", unseen)
}

// TestUnchangedIsNotRead counts what is opened.
func TestUnchangedIsNotRead(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	dirs := map[int32]string{}
	for _, d := range []string{"", "d", "d/sub", "d/sub/deep", "other"} {
		wd, err := unix.InotifyAddWatch(watch, filepath.Join(p.dir, d), unix.IN_OPEN)
		if err != nil {
			t.Fatal(err)
		}
		dirs[int32(wd)] = d
	}
	opened := func() []string {
		t.Helper()
		files := map[string]bool{}
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(watch, buf)
			if err != nil {
				return slices.Sorted(maps.Keys(files))
			}
			for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
				e := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
				name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+e.Len]), "\x00")
				if e.Mask&unix.IN_ISDIR == 0 {
					files[filetree.Join(dirs[e.Wd], name)] = true
				}
				b = b[unix.SizeofInotifyEvent+e.Len:]
			}
		}
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, opened()); diff != "" {
			t.Errorf("%s: opened (-want +got):\n%s", what, diff)
		}
	}
	opened()
	p.take()
	expect("taken")
	p.changes()
	expect("nothing changed")
	if err := os.Chmod(filepath.Join(p.dir, "d/sub/x"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.changes()
	expect("one changed", "d/sub/x")
	p.changes()
	expect("that one did not change again")
}

// TestShift takes a file that the executor moved for what it was, and one that was changed as well for changed.
func TestShift(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	aside := t.TempDir()
	ctime := func(name string) unix.Timespec {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(p.dir, name), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ctim
	}
	move := func(name, meanwhile string) executor.Shift {
		t.Helper()
		s := executor.Shift{Path: name, Old: ctime(name)}
		p.sh(`mv ` + name + ` ` + aside + `/x; sleep 0.02; mv ` + aside + `/x ` + name)
		s.New = ctime(name)
		if meanwhile != "" {
			p.sh(`sleep 0.02; ` + meanwhile)
		}
		return s
	}
	// Nobody knows what is in "unread": it would count as changed.
	p.expect("moved", nil, p.changes(move("unread", "")))
	p.expect("afterwards", nil, p.changes())
	p.expect("moved and changed", []string{"file unread"}, p.changes(move("unread", "chmod 600 unread; chmod 644 unread")))
}

// TestRefresh records what was changed on purpose, and that alone.
func TestRefresh(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	p.sh(`echo 1 >d/sub/n; mkdir -p new/dir; echo 2 >new/dir/x; rm -r other; echo 3 >>f; echo 4 >d/unnoticed`)
	var err error
	if p.record, err = p.record.Refresh(t.Context(), []string{"d", "d/sub", "d/sub/n", "new", "new/dir", "new/dir/x", "other"}, p.options()); err != nil {
		t.Fatal(err)
	}
	p.await()
	// All entries of a directory that is entered are recorded.
	p.expect("refreshed", nil, p.changes())
	p.sh(`echo 5 >d/sub/n; echo 6 >new/dir/x; rm d/sub/x`)
	p.expect("changed afterwards", []string{"directory d", "directory d/sub", "file d/sub/n", "whiteout d/sub/x", "directory new", "directory new/dir", "file new/dir/x"}, p.changes())
}

// BenchmarkChanges finds one changed file among 50,000, as in a Debian with some packages.
func BenchmarkChanges(b *testing.B) {
	dir := b.TempDir()
	const dirs, each = 5000, 10
	for i := range dirs {
		d := filepath.Join(dir, fmt.Sprintf("usr/share/some%02d/package-%04d", i%50, i))
		if err := os.MkdirAll(d, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range each {
			if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("file-%d.name", j)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	record, err := snapshot.Take(b.Context(), dir, snapshot.Options{})
	if err != nil {
		b.Fatal(err)
	}
	used := float64(memory()-before) / (dirs*each + dirs)
	if err := record.Await(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, record, err = record.Changes(b.Context(), filetree.Empty(), nil, snapshot.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((dirs*each+dirs)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
	b.ReportMetric(used, "bytes/file")
}

// TestGrowth cuts off a file that grows after it was found, and refuses one that shrinks or vanishes.
func TestGrowth(t *testing.T) {
	t.Parallel()
	p := newPlain(t)
	p.sh(`printf found >grows; printf found >shrinks; printf found >vanishes`)
	found := map[string]filetree.Change{}
	for _, c := range p.changes() {
		found[c.Path] = c
	}
	p.sh(`printf more >>grows; printf x >shrinks; rm vanishes`)
	for name, want := range map[string]string{"grows": "found", "shrinks": "", "vanishes": ""} {
		r, err := found[name].Source.Open(t.Context(), found[name].From)
		if err == nil {
			var text []byte
			text, err = io.ReadAll(r)
			if string(text) != want {
				t.Errorf("%s: %q", name, text)
			}
			_ = r.Close()
		}
		if (err == nil) != (want != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
