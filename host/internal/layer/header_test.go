package layer

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/image"
)

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
	want := []string{
		`5 0755 0:0 0 0,0 ./  0 ""`,
		`5 1777 0:0 0 0,0 bin/  1700000000 ""`,
		`0 4755 7:8 2 0,0 bin/su  -1 "\x01\x00\x00"`,
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
	var changes []filetree.Change
	for _, e := range entries {
		c := filetree.Change{Entry: e}
		if e.Type == filetree.Regular {
			c.Source, c.From = source, filetree.Ref{Path: e.Path, Size: e.Size}
		}
		changes = append(changes, c)
	}
	l := mustWrite(t, newStore(t), changes, Options{Compression: image.Gzip})
	if diff := cmp.Diff(want, headerLines(t, raw(t, l))); diff != "" {
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

// headerLines is a line for each header of a tar. All headers must be in the form that layers have.
func headerLines(t *testing.T, data []byte) []string {
	t.Helper()
	var got []string
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
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
}
