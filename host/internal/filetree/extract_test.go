package filetree

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExtract(t *testing.T) {
	t.Parallel()
	tree, err := Empty().Apply([]Entry{
		{Path: "d", Type: Directory, Mode: 0o700, UID: 7},
		{Path: "d/f", Type: Regular, Mode: 0o644},
		{Path: "d/g", Type: Hardlink, Link: "d/f"},
		{Path: "d/out", Type: Symlink, Link: "../../etc", Mode: 0o777},
		{Path: "dd", Type: Regular, Mode: 0o600},
		{Path: "to-d", Type: Symlink, Link: "/d", Mode: 0o777},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	list := func(path, name string) []string {
		changes, err := tree.Extract(path, name)
		if err != nil {
			t.Fatalf("Extract(%q): %v", path, err)
		}
		var out []string
		for _, c := range changes {
			out = append(out, c.Type.String()+" "+c.Path+" "+c.Link)
		}
		return out
	}
	below := []string{"directory s ", "file s/f ", "hardlink s/g s/f", "symlink s/out ../../etc"}
	for path, want := range map[string][]string{
		"d": below, "to-d": below, "../d/.": below,
		"dd":     {"file s "},
		"d/f":    {"file s "},
		"to-d/f": {"file s "},
	} {
		if diff := cmp.Diff(want, list(path, "s")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	want := []string{"directory  ", "file f ", "hardlink g f", "symlink out ../../etc"}
	if diff := cmp.Diff(want, list("d", "")); diff != "" {
		t.Errorf("into the root (-want +got):\n%s", diff)
	}
	if root := list(".", "s"); root[0] != "directory s " || root[2] != "file s/d/f " {
		t.Errorf("the root: %q", root)
	}
	if _, err := tree.Extract("nowhere", "s"); !errors.Is(err, ErrNotExist) {
		t.Errorf("Extract of nothing: %v", err)
	}
}
