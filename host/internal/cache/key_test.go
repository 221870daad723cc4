package cache

import (
	"reflect"
	"testing"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

func sum(t *testing.T, platform string, effects ...effect.Effect) Sum {
	t.Helper()
	s, err := StepSum(platform, effects, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEveryFieldCounts guards against the class of CVE-2024-24557: two steps that differ in anything must not share a key.
// It walks the fields by reflection, so that a field added later is covered too.
func TestEveryFieldCounts(t *testing.T) {
	t.Parallel()
	for _, x := range []effect.Effect{effect.Exec{}, effect.Copy{}, effect.Mkdir{}, effect.Symlink{}, effect.Remove{}, effect.Set{}} {
		before := sum(t, "linux/amd64", x)
		typ := reflect.TypeOf(x)
		for i := range typ.NumField() {
			name := typ.Name() + "." + typ.Field(i).Name
			changed := reflect.New(typ).Elem()
			fill(t, changed.Field(i))
			after := sum(t, "linux/amd64", changed.Interface().(effect.Effect))
			// Proxies are not part of the key, and what a copy reads is an input of its own.
			if free := name == "Exec.Unkeyed"; (before == after) != free {
				t.Errorf("%s: key changed: %v", name, before != after)
			}
		}
	}
}

// fill gives a value something else than zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int64:
		v.SetInt(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Type != reflect.TypeFor[effect.Location]() {
				fill(t, v.Field(i))
			}
		}
	default:
		t.Fatalf("no way to fill a %s", v.Kind())
	}
}

func TestFraming(t *testing.T) {
	t.Parallel()
	different := map[Sum]string{}
	for name, s := range map[string]Sum{
		"one argument":       sum(t, "p", effect.Exec{Args: []string{"ab"}}),
		"two arguments":      sum(t, "p", effect.Exec{Args: []string{"a", "b"}}),
		"argument and env":   sum(t, "p", effect.Exec{Args: []string{"a"}, Env: []string{"b"}}),
		"platform":           sum(t, "pa", effect.Exec{Args: []string{"b"}}),
		"other effect":       sum(t, "p", effect.Mkdir{Path: "a", User: "b"}),
		"other effect again": sum(t, "p", effect.Mkdir{Path: "ab"}),
		"a byte":             sum(t, "p", effect.Exec{Args: []string{"caf\xe9"}}),
		"another byte":       sum(t, "p", effect.Exec{Args: []string{"caf\xe8"}}),
	} {
		if other, ok := different[s]; ok {
			t.Errorf("%q and %q have one key", name, other)
		}
		different[s] = name
	}
}

func TestChains(t *testing.T) {
	t.Parallel()
	step := sum(t, "p", effect.Exec{Args: []string{"a"}})
	a, _ := DefinitionKey(ImageChain([]string{"sha256:1"}), step)
	b, _ := DefinitionKey(ImageChain([]string{"sha256:1", "sha256:2"}), step)
	if a == b {
		t.Error("a step on another base has the same definition key")
	}
	if c := ContentKey(ImageChain([]string{"sha256:1"}), step); string(c) == string(a) {
		t.Error("definition and content keys are the same")
	}
	if ImageChain(nil).Layer("sha256:1") != ImageChain([]string{"sha256:1"}) {
		t.Error("a layer on scratch is another chain than an image of that layer")
	}
}

func TestFilesInput(t *testing.T) {
	t.Parallel()
	file := filetree.Entry{Path: "a", Type: filetree.Regular, Mode: 0o644, Size: 1, ModTime: 1, Digest: filetree.Digest{1}}
	input := func(change func(e *filetree.Entry)) Input {
		e := file
		change(&e)
		in, err := FilesInput([]filetree.Change{{Entry: e}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	plain := input(func(*filetree.Entry) {})
	if input(func(e *filetree.Entry) { e.ModTime = 99 }) != plain {
		t.Error("the modification time counts")
	}
	for name, change := range map[string]func(e *filetree.Entry){
		"path":    func(e *filetree.Entry) { e.Path = "b" },
		"mode":    func(e *filetree.Entry) { e.Mode = 0o755 },
		"uid":     func(e *filetree.Entry) { e.UID = 1 },
		"gid":     func(e *filetree.Entry) { e.GID = 1 },
		"size":    func(e *filetree.Entry) { e.Size = 2 },
		"content": func(e *filetree.Entry) { e.Digest = filetree.Digest{2} },
		"link":    func(e *filetree.Entry) { e.Link = "x" },
		"caps":    func(e *filetree.Entry) { e.Xattrs = map[string]string{"security.capability": "x"} },
		"device":  func(e *filetree.Entry) { e.Major = 1 },
	} {
		if input(change) == plain {
			t.Errorf("%s does not count", name)
		}
	}
	if in, err := FilesInput([]filetree.Change{{Entry: file}}, []string{"a"}); err != nil || in == plain {
		t.Errorf("that a file is unpacked if it is an archive does not count: %v", err)
	}
	unread := file
	unread.Digest = filetree.Digest{}
	if _, err := FilesInput([]filetree.Change{{Entry: unread}}, nil); err == nil {
		t.Error("a file that nobody read has an input")
	}
}

func TestStageInputNamesPaths(t *testing.T) {
	t.Parallel()
	c := ImageChain([]string{"sha256:1"})
	if StageInput(c, []string{"a"}) == StageInput(c, []string{"b"}) {
		t.Error("different files of one stage are one input")
	}
	if StageInput(c, []string{"a", "b"}) == StageInput(c, []string{"ab"}) {
		t.Error("paths are not framed")
	}
}
