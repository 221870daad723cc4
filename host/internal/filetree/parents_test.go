package filetree_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

func TestWithParents(t *testing.T) {
	t.Parallel()
	tree, err := filetree.Empty().Apply([]filetree.Entry{
		{Path: "usr", Type: filetree.Directory, Mode: 0o711, UID: 1, GID: 2, ModTime: 3},
		{Path: "usr/lib", Type: filetree.Directory, Mode: 0o700, Xattrs: map[string]string{"user.a": "b"}},
		{Path: "lib", Type: filetree.Symlink, Link: "usr/lib"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	usr := filetree.Entry{Path: "usr", Type: filetree.Directory, Mode: 0o711, UID: 1, GID: 2, ModTime: 3}
	usrLib := filetree.Entry{Path: "usr/lib", Type: filetree.Directory, Mode: 0o700, Xattrs: map[string]string{"user.a": "b"}}
	made := func(p string) filetree.Entry { return filetree.Entry{Path: p, Type: filetree.Directory, Mode: 0o755} }
	file := func(p string) filetree.Entry { return filetree.Entry{Path: p, Type: filetree.Regular, Mode: 0o644} }
	gone := func(p string) filetree.Entry { return filetree.Entry{Path: p, Type: filetree.Whiteout} }
	own := filetree.Entry{Path: "usr", Type: filetree.Directory, Mode: 0o500}

	tests := map[string]struct{ give, want []filetree.Entry }{
		"nothing":                    {nil, []filetree.Entry{}},
		"in the root":                {[]filetree.Entry{file("a")}, []filetree.Entry{file("a")}},
		"as the tree has them":       {[]filetree.Entry{file("usr/lib/x")}, []filetree.Entry{usr, usrLib, file("usr/lib/x")}},
		"of a whiteout":              {[]filetree.Entry{gone("usr/lib")}, []filetree.Entry{usr, gone("usr/lib")}},
		"missing":                    {[]filetree.Entry{file("a/b/c")}, []filetree.Entry{made("a"), made("a/b"), file("a/b/c")}},
		"each once":                  {[]filetree.Entry{file("a/b/c"), file("a/b/d"), file("a/e")}, []filetree.Entry{made("a"), made("a/b"), file("a/b/c"), file("a/b/d"), file("a/e")}},
		"changed ones stay":          {[]filetree.Entry{own, file("usr/lib/x")}, []filetree.Entry{own, usrLib, file("usr/lib/x")}},
		"sorted":                     {[]filetree.Entry{file("b/x"), file("a/x")}, []filetree.Entry{made("a"), file("a/x"), made("b"), file("b/x")}},
		"names that start the same":  {[]filetree.Entry{file("a/x"), file("a-b/x")}, []filetree.Entry{made("a"), file("a/x"), made("a-b"), file("a-b/x")}},
		"deep after shallow":         {[]filetree.Entry{file("a/b/c/d"), file("a/z/y")}, []filetree.Entry{made("a"), made("a/b"), made("a/b/c"), file("a/b/c/d"), made("a/z"), file("a/z/y")}},
		"the root directory changed": {[]filetree.Entry{made(""), file("a/x")}, []filetree.Entry{made(""), made("a"), file("a/x")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changes []filetree.Change
			for _, e := range tt.give {
				changes = append(changes, filetree.Change{Entry: e})
			}
			got, err := filetree.WithParents(changes, tree)
			if err != nil {
				t.Fatal(err)
			}
			entries := []filetree.Entry{}
			for _, c := range got {
				entries = append(entries, c.Entry)
			}
			if diff := cmp.Diff(tt.want, entries); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("through a symlink", func(t *testing.T) {
		t.Parallel()
		_, err := filetree.WithParents([]filetree.Change{{Entry: file("lib/x")}}, tree)
		if !errors.Is(err, filetree.ErrNotDirectory) {
			t.Errorf("got error %v, want one that says that lib is no directory", err)
		}
	})
}
