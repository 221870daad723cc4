package observe

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/sdk"
)

// contents opens files by their path.
type contents map[string]string

func (c *contents) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader((*c)[ref.Path])), nil
}

func filesOf(t *testing.T, text contents, more ...filetree.Entry) *Files {
	t.Helper()
	e := filetree.Empty().Edit()
	for name, s := range text {
		x := filetree.Entry{Path: name, Type: filetree.Regular, Mode: 0o644, Size: int64(len(s))}
		if err := e.Put(x, &text, filetree.Ref{Path: name, Size: x.Size}); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range more {
		if err := e.Put(x, nil, filetree.Ref{}); err != nil {
			t.Fatal(err)
		}
	}
	tree := e.Tree()
	return NewFiles(Trees{sdk.RootContext: func(context.Context) (*filetree.Tree, error) { return tree, nil }})
}

func TestFiles(t *testing.T) {
	t.Parallel()
	f := filesOf(t, contents{"dir/a": "content", "etc/passwd": "inside"},
		filetree.Entry{Path: "up", Type: filetree.Symlink, Link: "../../../etc/passwd"},
		filetree.Entry{Path: "fifo", Type: filetree.FIFO},
		filetree.Entry{Path: "loop", Type: filetree.Symlink, Link: "loop"},
	)
	for name, want := range map[string]string{
		"dir/a": "content", "/dir/./a": "content", "dir/../dir/a": "content",
		"up":               "inside", // a link that would leave the context stays in it
		"../../etc/passwd": "inside",
	} {
		if got, err := f.ReadFile(t.Context(), sdk.RootContext, name); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for name, code := range map[string]sdk.ErrorCode{
		"none": sdk.CodeNotFound, "dir/a/b": sdk.CodeNotFound, "loop": sdk.CodeNotFound, "dir": sdk.CodeInvalid, "fifo": sdk.CodeInvalid,
		"a\x00b": sdk.CodeInvalid, strings.Repeat("x", 5000): sdk.CodeInvalid,
	} {
		_, err := f.ReadFile(t.Context(), sdk.RootContext, name)
		if coded, ok := errors.AsType[*sdk.Error](err); !ok || coded.Code != code {
			t.Errorf("%.20q: error %v, want the code %s", name, err, code)
		}
	}
	if _, err := f.ReadFile(t.Context(), sdk.RootStage, "dir/a"); err == nil {
		t.Error("a root that is not there can be read")
	}
}

// TestSame reads something, and asks whether it is the same in another tree.
func TestSame(t *testing.T) {
	t.Parallel()
	base := contents{"a": "one", "dir/b": "two"}
	read := map[string]func(ctx context.Context, f sdk.FileSystem){
		"a file":    func(ctx context.Context, f sdk.FileSystem) { _, _ = f.ReadFile(ctx, sdk.RootContext, "a") },
		"a miss":    func(ctx context.Context, f sdk.FileSystem) { _, _ = f.ReadFile(ctx, sdk.RootContext, "none") },
		"a listing": func(ctx context.Context, f sdk.FileSystem) { _, _ = f.ReadDir(ctx, sdk.RootContext, "dir") },
		"a stat":    func(ctx context.Context, f sdk.FileSystem) { _, _ = f.Stat(ctx, sdk.RootContext, "a") },
	}
	changed := map[string]struct {
		files contents
		same  []string // what is the same in them
	}{
		"nothing":             {base, []string{"a file", "a listing", "a miss", "a stat"}},
		"a file beside":       {contents{"a": "one", "dir/b": "two", "other": ""}, []string{"a file", "a listing", "a miss", "a stat"}},
		"the file":            {contents{"a": "0ne", "dir/b": "two"}, []string{"a listing", "a miss", "a stat"}},
		"its size":            {contents{"a": "one more", "dir/b": "two"}, []string{"a listing", "a miss"}},
		"the file is gone":    {contents{"dir/b": "two"}, []string{"a listing", "a miss"}},
		"the missing is here": {contents{"a": "one", "dir/b": "two", "none": ""}, []string{"a file", "a listing", "a stat"}},
		"more in the list":    {contents{"a": "one", "dir/b": "two", "dir/c": ""}, []string{"a file", "a miss", "a stat"}},
	}
	for name, tt := range changed {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var same []string
			for _, what := range []string{"a file", "a listing", "a miss", "a stat"} {
				r := NewRecorder(filesOf(t, base))
				read[what](t.Context(), r)
				read[what](t.Context(), r) // again: it is remembered once
				reads, whole := r.Reads()
				if len(reads) != 1 || !whole {
					t.Fatalf("%s: reads %v", what, reads)
				}
				if Same(t.Context(), filesOf(t, tt.files), reads) {
					same = append(same, what)
				}
			}
			if diff := cmp.Diff(tt.same, same); diff != "" {
				t.Errorf("the same (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFaultsAreNotKept holds that a plan does not rest on an error that says nothing of the files.
func TestFaultsAreNotKept(t *testing.T) {
	t.Parallel()
	broken := NewFiles(Trees{sdk.RootContext: func(context.Context) (*filetree.Tree, error) { return nil, errors.New("disk on fire") }})
	r := NewRecorder(broken)
	if _, err := r.ReadFile(t.Context(), sdk.RootContext, "a"); err == nil {
		t.Fatal("no error")
	}
	if _, whole := r.Reads(); whole {
		t.Error("what a plan rests on counts as known")
	}
	if fault := r.Fault(); fault == nil || fault.Error() != "disk on fire" {
		t.Errorf("the fault %v", fault)
	}
	whole := NewRecorder(filesOf(t, contents{}))
	if _, err := whole.ReadFile(t.Context(), sdk.RootContext, "none"); err == nil || whole.Fault() != nil {
		t.Errorf("a file that is not there: %v, fault %v", err, whole.Fault())
	}
}
