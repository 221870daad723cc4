package buildcontext

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// text is a source of one file.
type text string

func (t text) Open(context.Context, filetree.Ref) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(string(t))), nil
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	tree, err := filetree.Empty().ApplyChanges([]filetree.Change{
		{Entry: filetree.Entry{Path: "d", Type: filetree.Directory, Mode: 0o2700, ModTime: 5}},
		{Entry: filetree.Entry{Path: "d/run", Type: filetree.Regular, Mode: 0o4710, Size: 1, ModTime: 6}, Source: text("x"), From: filetree.Ref{Path: "d/run", Size: 1}},
		{Entry: filetree.Entry{Path: "data", Type: filetree.Regular, Mode: 0o611, Size: 1, UID: 7}, Source: text("y"), From: filetree.Ref{Path: "data", Size: 1}},
		{Entry: filetree.Entry{Path: "link", Type: filetree.Symlink, Mode: 0o777, Link: "data"}},
		{Entry: filetree.Entry{Path: "same", Type: filetree.Hardlink, Link: "data"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	normal, err := Normalize(tree)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	want := []filetree.Entry{
		{Type: filetree.Directory, Mode: 0o755, ModTime: at},
		{Path: "d", Type: filetree.Directory, Mode: 0o755, ModTime: at},
		{Path: "d/run", Type: filetree.Regular, Mode: 0o755, Size: 1, ModTime: at},
		{Path: "data", Type: filetree.Regular, Mode: 0o644, Size: 1, UID: 7, ModTime: at},
		{Path: "link", Type: filetree.Symlink, Mode: 0o777, Link: "data", ModTime: at},
		{Path: "same", Type: filetree.Regular, Mode: 0o644, Size: 1, UID: 7, ModTime: at},
	}
	var got []filetree.Entry
	if err := normal.Walk("", func(p string, n *filetree.Node) (bool, error) {
		got = append(got, n.Entry(p))
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	data, _ := normal.Lookup("data")
	same, _ := normal.Lookup("same")
	if !data.SameFile(same) {
		t.Error("a hardlink became a file of its own")
	}
	if source, ref := same.Source("same"); source != text("y") || ref.Path != "data" {
		t.Errorf("the content comes from %v, %v", source, ref)
	}
}
