package git

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/internal/effect"
)

func TestSubmoduleAddress(t *testing.T) {
	t.Parallel()
	const bad = "!"
	for _, x := range []struct{ from, address, want string }{
		{"https://a.example/team/app.git", "../lib.git", "https://a.example/team/lib.git"},
		{"https://a.example/team/app.git", "./lib.git", "https://a.example/team/app.git/lib.git"},
		{"https://a.example/team/app.git", "../../other/lib", "https://a.example/other/lib"},
		{"https://a.example/team/app.git/", "../lib", "https://a.example/team/lib"},
		{"https://a.example/app.git", "../../../../b.example/lib", "https://a.example/b.example/lib"},
		{"https://a.example/app.git", "../a?b#c", "https://a.example/a%3Fb%23c"},
		{"git@a.example:team/app.git", "../lib.git", "git@a.example:team/lib.git"},
		{"git@a.example:app.git", "../lib.git", "git@a.example:lib.git"},
		{"git@a.example:app.git", "../../lib.git", bad},
		{"git@a.example:app.git", "../-oProxyCommand=x", bad},
		{"ssh://git@a.example/team/app.git", "../-x", "ssh://git@a.example/team/-x"},
		{"ssh://git@a.example/app.git", "../-x", bad},
		{"file:///srv/app.git", "../lib.git", "file:///srv/lib.git"},
		{"https://a.example/app.git", "https://b.example/lib", "https://b.example/lib"},
		{"https://a.example/app.git", "https://b.example/lib/", "https://b.example/lib/"},
		{"https://a.example/app.git", "git@b.example:lib.git", "git@b.example:lib.git"},
		{"https://a.example/app.git", "git://b.example/lib", "git://b.example/lib"},
		{"https://a.example/app.git", "/srv/lib.git", bad},
		{"https://a.example/app.git", "file:///srv/lib.git", bad},
		{"https://a.example/app.git", "FILE:///srv/lib.git", bad},
		{"file:///srv/app.git", "file:///srv/lib.git", bad},
		{"file:///srv/app.git", "/srv/lib.git", bad},
		{"https://a.example/app.git", "ext::sh -c touch% x", bad},
		{"https://a.example/app.git", "fd::7", bad},
		{"https://a.example/app.git", "ftp://b.example/lib.git", bad},
		{"https://a.example/app.git", "--upload-pack=x", bad},
		{"https://a.example/app.git", "-u", bad},
		{"https://a.example/app.git", "ssh://-oProxyCommand=x/lib.git", bad},
		{"https://a.example/app.git", "ssh://git@b.example/-x", bad},
		{"https://a.example/app.git", "https://b.example/lib.git\nx", bad},
		{"https://a.example/app.git", "../lib\n[http]", "https://a.example/lib%0A%5Bhttp%5D"},
		{"https://a.example/app.git", "..", bad},
		{"https://a.example/app.git", "", bad},
	} {
		from, err := newRemote(x.from)
		if err != nil {
			t.Fatal(err)
		}
		got, err := from.submodule(x.address)
		if err != nil {
			got.address = bad
		}
		if got.address != x.want {
			t.Errorf("%q in %s: %q, %v, want %q", x.address, x.from, got.address, err, x.want)
		}
	}
}

// TestSubmodulesOfAll has what git submodule update fetches, and what it does not.
func TestSubmodulesOfAll(t *testing.T) {
	t.Parallel()
	c := newClient(t, t.TempDir(), nil)
	dir := t.TempDir()
	shell(t, dir, `
for name in deep lib app; do git init -q -b main $name; echo $name > $name/$name; git -C $name add .; git -C $name commit -qm $name; done
add() { git -C $1 -c protocol.file.allow=always submodule --quiet add ../$2 "$3"; git -C $1 add .; git -C $1 commit -qm $2; }
add lib deep 'in side'; add app lib vendor/lib; add app deep none
git -C app config -f .gitmodules submodule.none.update none
git -C app config -f .gitmodules submodule.none.url ../absent
git -C app commit -qam none
git -c protocol.file.allow=always clone -q --recurse-submodules app want`)
	got, err := archived(t, c, effect.Git{Remote: "file://" + dir + "/app"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(checkedOut(t, filepath.Join(dir, "want")), got); diff != "" {
		t.Errorf("(-checked out +archived):\n%s", diff)
	}
	if _, ok := got["vendor/lib/in side/deep"]; !ok {
		t.Errorf("got %v", got)
	}
}

// TestHostileCommits has commits that no git makes by itself.
func TestHostileCommits(t *testing.T) {
	t.Parallel()
	c := newClient(t, t.TempDir(), nil)
	for name, x := range map[string]struct{ script, want string }{
		"include in .gitmodules": {`
printf '[submodule "x"]\n\tpath = sub\n\turl = ../lib\n' > "$OLDPWD/secret"
printf "[include]\n\tpath = $OLDPWD/secret\n" > .gitmodules
git add .; git update-index --add --cacheinfo 160000,$(git hash-object -t commit -w --literally /dev/null),sub`, "does not say where it is"},
		"no .gitmodules": {`git update-index --add --cacheinfo 160000,0123456789012345678901234567890123456789,sub`, ".gitmodules"},
		".git":           {tree(".git"), "invalid path"},
		"..":             {tree(".."), "invalid path"},
		"slash":          {tree("../x"), "invalid path"},
		"plain names":    {tree("x"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			shell(t, dir, "git init -q -b main app; cd "+dir+"/app\nOLDPWD="+dir+"\n"+x.script+`
git update-ref HEAD $(git commit-tree -m x ${TREE:-$(git write-tree)})`)
			got, err := archived(t, c, effect.Git{Remote: "file://" + dir + "/app"})
			if x.want == "" && err == nil && len(got) == 1 {
				return
			}
			if x.want == "" || err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, %v, want an error with %q", got, err, x.want)
			}
		})
	}
}

// tree makes a tree with one file under a name.
func tree(name string) string {
	id, _ := hex.DecodeString("587be6b4c3f93f93c489c0111bba5596147a26cb") // of a blob with "x\n"
	var entry strings.Builder
	for _, b := range append([]byte("100644 "+name+"\x00"), id...) {
		fmt.Fprintf(&entry, `\%03o`, b)
	}
	return `echo x | git hash-object -w --stdin; TREE=$(printf '` + entry.String() + `' | git hash-object -t tree -w --literally --stdin)`
}
