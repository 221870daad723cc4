package executor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layModel is what a tree and what is mounted in it would hold after real mounts: files by path, directories as "".
type layModel struct {
	tree   map[string]string
	mounts []*modelMount
}

type modelMount struct {
	target string
	files  map[string]string // by path below the target
	kept   string            // the directory that keeps them, if any does
}

// at finds what a path is in: a mount, or the tree.
func (m *layModel) at(p string) (files map[string]string, below string) {
	files, below = m.tree, p
	long := -1
	for _, x := range m.mounts {
		if rest, ok := strings.CutPrefix(p+"/", x.target+"/"); ok && len(x.target) > long {
			files, below, long = x.files, strings.Trim(rest, "/"), len(x.target)
		}
	}
	return files, below
}

// TestLayRandom lays random mounts in random trees, lets a process do at random what it could do with real mounts too, and
// compares the tree and what is kept with what real mounts would have left.
func TestLayRandom(t *testing.T) {
	t.Parallel()
	shm := otherFileSystem(t)
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 5))
		if !layRandomly(t, r, filepath.Join(shm, fmt.Sprint(seed))) {
			t.Fatalf("seed %d", seed)
		}
	}
}

func layRandomly(t *testing.T, r *rand.Rand, shm string) bool {
	t.Helper()
	w := newLayTree(t)
	model := &layModel{tree: map[string]string{}}
	for range r.IntN(12) {
		put(model.tree, randomPath(r), fmt.Sprint("tree", r.IntN(100)))
	}
	write(t, w.root, model.tree)
	var mounts []Mount
	for i := range 1 + r.IntN(4) {
		if m, ok := randomMount(t, r, model, filepath.Join(shm, fmt.Sprint(i))); ok {
			mounts = append(mounts, m)
		}
	}
	slices.SortStableFunc(mounts, func(a, b Mount) int { return strings.Compare(a.Target, b.Target) })
	before := looks(t, w.root)
	l := w.mustLay(t, mounts...)
	var did []string
	for range r.IntN(8) {
		did = append(did, mutateRandomly(t, r, w, model))
	}
	_, err := l.remove()
	must(t, err)
	diff := cmp.Diff(listed(model.tree), contents(t, w.root))
	for _, x := range model.mounts {
		if x.kept != "" {
			diff += cmp.Diff(listed(x.files), contents(t, x.kept))
		}
	}
	after := looks(t, w.root)
	for name, look := range before {
		if did == nil && after[name] != look {
			diff += fmt.Sprintf("%s: it was %s, and is %s\n", name, look, after[name])
		}
	}
	if got := entries(t, w.aside); got != nil {
		diff += fmt.Sprintf("aside lie %q\n", got)
	}
	if diff != "" {
		for _, m := range mounts {
			t.Logf("mount %s %s, read-only %t", m.Kind, m.Target, m.ReadOnly)
		}
		t.Logf("the process did %q", did)
		t.Error(diff)
	}
	return diff == ""
}

// randomPath has few names, so that things meet.
func randomPath(r *rand.Rand) string {
	parts := make([]string, 1+r.IntN(3))
	for i := range parts {
		parts[i] = string(rune('a' + r.IntN(3)))
	}
	return path.Join(parts...)
}

// put makes a file and the directories above it, unless something of another type is in the way.
func put(files map[string]string, name, content string) bool {
	if old, ok := files[name+"/"]; ok && old == "" {
		return false
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := files[dir]; ok {
			return false
		}
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		files[dir+"/"] = ""
	}
	files[name] = content
	return true
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	fill(t, dir, listed(files)...)
}

// listed is what contents says of files.
func listed(files map[string]string) []string {
	var list []string
	// A directory that was made for a mount stays if there is something in it.
	all := maps.Clone(files)
	for name := range files {
		for dir := path.Dir(strings.TrimSuffix(name, "/")); dir != "."; dir = path.Dir(dir) {
			all[dir+"/"] = ""
		}
	}
	for name, content := range all {
		if strings.HasSuffix(name, "/") {
			list = append(list, name)
		} else {
			list = append(list, name+"="+content)
		}
	}
	// In the order of a walk, in which "a/b" comes before "a.b".
	slices.SortFunc(list, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return slices.Compare(strings.Split(strings.TrimSuffix(a, "/"), "/"), strings.Split(strings.TrimSuffix(b, "/"), "/"))
	})
	return list
}

// randomMount adds a mount to the model, unless its target is of the wrong type.
func randomMount(t *testing.T, r *rand.Rand, model *layModel, shm string) (Mount, bool) {
	t.Helper()
	target := randomPath(r)
	for _, x := range model.mounts {
		if x.target == target || strings.HasPrefix(x.target, target+"/") || strings.HasPrefix(target, x.target+"/") {
			return Mount{}, false // nested ones have a test of their own
		}
	}
	for dir := path.Dir(target); dir != "."; dir = path.Dir(dir) {
		if _, ok := model.tree[dir]; ok {
			return Mount{}, false
		}
	}
	_, isFile := model.tree[target]
	_, isDir := model.tree[target+"/"]
	x := &modelMount{target: target, files: map[string]string{}}
	if !isDir && (isFile || r.IntN(3) == 0) {
		x.files[""] = "shown"
		model.mounts = append(model.mounts, x)
		return Mount{Kind: MountFile, Target: "/" + target, Content: []byte("shown")}, true
	}
	model.mounts = append(model.mounts, x)
	for range r.IntN(6) {
		put(x.files, randomPath(r), fmt.Sprint("mount", r.IntN(100)))
	}
	source := t.TempDir()
	if r.IntN(2) == 0 {
		source = shm
		must(t, os.MkdirAll(source, 0o755))
	}
	write(t, source, x.files)
	switch r.IntN(3) {
	case 0:
		x.kept = source
		return Mount{Kind: MountBind, Target: "/" + target, Source: source}, true
	case 1:
		return Mount{Kind: MountBind, Target: "/" + target, Source: source, ReadOnly: true}, true
	}
	layers := Rootfs{LayersDir: filepath.Dir(source), Lowers: []string{filepath.Base(source)}}
	return Mount{Kind: MountLayers, Target: "/" + target, Layers: layers}, true
}

// mutateRandomly does something, in the tree and in the model.
func mutateRandomly(t *testing.T, r *rand.Rand, w *layTree, model *layModel) string {
	t.Helper()
	p := randomPath(r)
	files, below := model.at(p)
	full := w.path(p)
	switch r.IntN(3) {
	case 0: // write a file
		content := fmt.Sprint("new", r.IntN(100))
		if err := os.WriteFile(full, []byte(content), 0o644); err == nil {
			files[below] = content
			return "write " + p
		}
	case 1: // make a directory
		if err := os.Mkdir(full, 0o755); err == nil {
			files[below+"/"] = ""
			return "mkdir " + p
		}
	case 2: // remove what is no mount and has none below it
		for _, x := range model.mounts {
			if x.target == p || strings.HasPrefix(x.target, p+"/") {
				return "spare " + p
			}
		}
		if os.RemoveAll(full) != nil {
			return "nothing with " + p // a file is above it
		}
		for name := range files {
			if name == below || strings.HasPrefix(name, below+"/") {
				delete(files, name)
			}
		}
		return "remove " + p
	}
	return "nothing with " + p
}
