package filetree

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func treeOf(t *testing.T, entries ...Entry) *Tree {
	t.Helper()
	tree, err := Empty().Apply(entries, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestDiff applies changes to a tree, and then the difference to the tree they were applied to.
func TestDiff(t *testing.T) {
	t.Parallel()
	file := func(p string) Entry { return Entry{Path: p, Type: Regular, Mode: 0o644, Digest: Digest{1}} }
	dir := func(p string) Entry { return Entry{Path: p, Type: Directory, Mode: 0o755} }
	gone := func(p string) Entry { return Entry{Path: p, Type: Whiteout} }
	base := treeOf(t, dir("a"), file("a/x"), file("a/y"), dir("a/d"), file("a/d/z"), dir("b"), file("b/same"), file("c"))
	tests := map[string]struct {
		put  []Entry
		want []string
	}{
		"nothing":                {nil, nil},
		"a new file":             {[]Entry{file("a/new")}, []string{"directory a", "file a/new"}},
		"the same anew":          {[]Entry{file("b/same")}, []string{"directory b", "file b/same"}},
		"a file goes":            {[]Entry{gone("a/x")}, []string{"directory a", "whiteout a/x"}},
		"made and removed":       {[]Entry{file("n"), gone("n")}, nil},
		"a directory goes":       {[]Entry{gone("a/d")}, []string{"directory a", "whiteout a/d"}},
		"a directory made anew":  {[]Entry{gone("a"), dir("a"), file("a/y")}, []string{"directory a", "whiteout a/d", "whiteout a/x", "file a/y"}},
		"a file for a directory": {[]Entry{gone("a"), file("a")}, []string{"file a"}},
		"a directory for a file": {[]Entry{gone("c"), dir("c"), file("c/in")}, []string{"directory c", "file c/in"}},
		"a link to a file below": {[]Entry{{Path: "l", Type: Hardlink, Link: "c"}}, []string{"file c", "hardlink l"}},
		"a file moves":           {[]Entry{{Path: "l", Type: Hardlink, Link: "c"}, gone("c")}, []string{"whiteout c", "file l"}},
		"two names of a file":    {[]Entry{file("m"), {Path: "n", Type: Hardlink, Link: "m"}}, []string{"file m", "hardlink n"}},
		"the root changes":       {[]Entry{{Type: Directory, Mode: 0o700}}, []string{"directory "}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := base.Edit()
			for _, x := range tt.put {
				if err := e.Put(x, nil, Ref{Path: x.Path}); err != nil {
					t.Fatal(err)
				}
			}
			next := e.Tree()
			changes, err := Diff(base, next)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, c.Type.String()+" "+c.Path)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			again, err := base.ApplyChanges(changes)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(listing(next), listing(again)); diff != "" {
				t.Errorf("tree with the changes (-want +got):\n%s", diff)
			}
		})
	}
}

func listing(t *Tree) []string {
	var out []string
	first := map[any]string{}
	_ = t.Walk("", func(p string, n *Node) (bool, error) {
		line := n.Type().String() + " " + p
		if f, ok := first[n.FileID()]; ok {
			line += " is " + f
		}
		first[n.FileID()] = p
		out = append(out, line)
		return true, nil
	})
	return out
}
