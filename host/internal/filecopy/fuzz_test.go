package filecopy

import (
	"errors"
	"path"
	"testing"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// FuzzMatch compares what a wildcard matches with path.Match of every path, and plans the copy.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{"*", "a/*", "*/*", "[a-c]", "[^a]*", `\[x`, "[", "a*/?/..", "**", "l/*", "a/./b*", "../*"} {
		f.Add(s, "/t/")
	}
	f.Add("*", "/a/../l/x/.")
	f.Fuzz(func(t *testing.T, pattern, dest string) {
		src := tree(t, "d a\nd a/b\nf a/b/c =1\nf a/bc =2\nd b\nf b/x =3\nf x.y =4\nf [x =5\nl l >a")
		s := Source{Name: "the fuzzer", Tree: src, Paths: []string{pattern}}
		matches, err := s.match(pattern)
		if missing, ok := errors.AsType[*MissingError](err); ok && missing.In != s.Name {
			t.Fatal(err)
		}
		if clean := filetree.Clean(pattern); err == nil && clean != "" {
			found := map[string]bool{}
			for _, m := range matches {
				found[m.name] = true
			}
			for _, c := range all(t, src) {
				if ok, _ := path.Match(clean, c.Path); ok && c.Path != "l" && !found[c.Path] {
					t.Errorf("%q matches %q, which was not found", clean, c.Path)
				}
			}
		}
		spec := Spec{Sources: []Source{s}, Dest: dest}
		changes, err := Plan(src, spec)
		if err != nil {
			return
		}
		if _, err := src.ApplyChanges(changes); err != nil {
			t.Errorf("COPY %q %q: apply the layer: %v", pattern, dest, err)
		}
		notation(t, changes)
	})
}

// FuzzArchive unpacks what may be an archive.
func FuzzArchive(f *testing.F) {
	f.Add(tarOf(f, "d d\nf d/x =hello\nl l >d\nh h >d/x\nf l/y =1"))
	f.Add([]byte(gzipped(f, tarOf(f, "f ../x =hello\nf d =1\nf d/x =1"))))
	f.Fuzz(func(t *testing.T, content []byte) {
		_, _ = add(t, "d t\nl t/l >/../..\nf t/f =x", "a /t/", map[string]string{"a": string(content)}, ArchiveOptions{MaxSize: 1 << 20})
	})
}
