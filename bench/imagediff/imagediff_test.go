package imagediff

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

var old = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)

// entry returns a header as builders write it: text beginning with "->" makes a symlink, with "=>" a hard link, a
// name that ends with a slash a directory.
func entry(name, text string) (*tar.Header, string) {
	header := &tar.Header{Format: tar.FormatPAX, Name: name, Mode: 0o644, ModTime: old, Typeflag: tar.TypeReg}
	switch {
	case strings.HasSuffix(name, "/"):
		header.Typeflag, header.Mode = tar.TypeDir, 0o755
	case strings.HasPrefix(text, "->"):
		header.Typeflag, header.Linkname, text = tar.TypeSymlink, text[2:], ""
	case strings.HasPrefix(text, "=>"):
		header.Typeflag, header.Linkname, text = tar.TypeLink, text[2:], ""
	case strings.Contains(name, whiteout):
		header.ModTime = time.Unix(0, 0)
	}
	header.Size = int64(len(text))
	return header, text
}

// makeLayer makes a layer of pairs of names and texts; alter may change the headers.
func makeLayer(t *testing.T, alter func(*tar.Header), pairs ...string) v1.Layer {
	t.Helper()
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for i := 0; i < len(pairs); i += 2 {
		header, text := entry(pairs[i], pairs[i+1])
		if alter != nil {
			alter(header)
		}
		if err := writer.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// makeImage makes an image of the layers, with a history.
func makeImage(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	image := v1.Image(empty.Image)
	var err error
	for _, layer := range layers {
		image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "a layer"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return image
}

func read(t *testing.T, image v1.Image) *Image {
	t.Helper()
	got, err := NewReader().Read(image)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// outline gives a tree as names with what they are: the text, the target, the links.
func outline(image *Image) map[string]string {
	got := map[string]string{}
	for name, e := range image.Tree {
		text := e.Type
		switch {
		case e.Type == "file":
			text = e.Text
		case e.Target != "":
			text = "->" + e.Target
		}
		if len(e.Links) > 0 {
			text += " =" + strings.Join(e.Links, "=")
		}
		got[name] = text
	}
	return got
}

func TestApply(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		layers [][]string
		want   map[string]string
		faults []string
	}{
		{
			name:   "one over the other",
			layers: [][]string{{"d/", "", "d/a", "1", "b", "1"}, {"d/", "", "d/a", "2", "c", "->b"}},
			want:   map[string]string{"/d": "directory", "/d/a": "2", "/b": "1", "/c": "->b"},
		},
		{
			name:   "whiteout of a tree",
			layers: [][]string{{"d/", "", "d/sub/", "", "d/sub/a", "1", "d/b", "1"}, {"d/", "", "d/.wh.sub", ""}},
			want:   map[string]string{"/d": "directory", "/d/b": "1"},
		},
		{
			name:   "whiteout hides what is below only, wherever it stands",
			layers: [][]string{{"d/", "", "d/a", "1"}, {"d/", "", "d/a", "2", "d/.wh.a", ""}},
			want:   map[string]string{"/d": "directory", "/d/a": "2"},
		},
		{
			name:   "opaque directory",
			layers: [][]string{{"d/", "", "d/a", "1", "d/s/", "", "d/s/b", "1", "dd", "1"}, {"d/", "", "d/.wh..wh..opq", "", "d/c", "2"}},
			want:   map[string]string{"/d": "directory", "/d/c": "2", "/dd": "1"},
			faults: []string{`layer 1: "d/.wh..wh..opq": is opaque, and does not name what it deletes`},
		},
		{
			name:   "file in the place of a directory, and back",
			layers: [][]string{{"d/", "", "d/a", "1"}, {"d", "file"}, {"d/", "", "d/b", "2"}},
			want:   map[string]string{"/d": "directory", "/d/b": "2"},
		},
		{
			name:   "hard links and a copy of one",
			layers: [][]string{{"a", "1", "b", "=>a", "c", "=>b"}, {"b", "2"}},
			want:   map[string]string{"/a": "1 =/c", "/b": "2", "/c": "1 =/a"},
		},
		{
			name:   "hard link to a layer below",
			layers: [][]string{{"a", "1"}, {"b", "=>a"}},
			want:   map[string]string{"/a": "1 =/b", "/b": "1 =/a"},
			faults: []string{`layer 1: "b": is a hard link to "a", which is not before it in the layer`},
		},
		{
			name:   "hard link to nothing, entry in a file, whiteout of nothing",
			layers: [][]string{{"a", "1"}, {"b", "=>x", "a/c", "2", ".wh.y", ""}},
			want:   map[string]string{"/a": "1", "/a/c": "2"},
			faults: []string{
				`layer 1: "b": is a hard link to "x", which is not before it in the layer`,
				`layer 1: "a/c": is not after its directory`,
				`layer 1: ".wh.y" deletes what is not there`,
				`layer 1: "b" is a hard link to "/x", which is nowhere`,
				`layer 1: "a/c" is in a file`,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var layers []v1.Layer
			for _, pairs := range test.layers {
				layers = append(layers, makeLayer(t, nil, pairs...))
			}
			got := read(t, makeImage(t, layers...))
			test.want["/"] = "directory"
			if diff := cmp.Diff(test.want, outline(got)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.faults, got.Faults); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		alter func(*tar.Header)
		pairs []string
		want  string
	}{
		{"twice", nil, []string{"a", "1", "a", "2"}, "is there twice"},
		{"absolute", nil, []string{"/a", "1"}, "is absolute or climbs up"},
		{"climbing", nil, []string{"../a", "1"}, "is absolute or climbs up"},
		{"absolute link", nil, []string{"a", "1", "b", "=>/a"}, "which is not relative"},
		{"no parent", nil, []string{"d/a", "1"}, "is not after its directory"},
		{"owner's name", func(h *tar.Header) { h.Uname = "root" }, []string{"a", "1"}, "the name of its owner"},
		{"part of a second", func(h *tar.Header) { h.ModTime = old.Add(1) }, []string{"a", "1"}, "part of a second"},
		{"access time", func(h *tar.Header) { h.AccessTime = old }, []string{"a", "1"}, "access or change time"},
		{"whiteout's time", func(h *tar.Header) { h.ModTime = old }, []string{".wh.a", ""}, "not of 1970"},
		{"whiteout's content", nil, []string{".wh.a", "x"}, "whiteout with content"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := read(t, makeImage(t, makeLayer(t, test.alter, test.pairs...)))
			if !strings.Contains(strings.Join(got.Faults, "\n"), test.want) {
				t.Errorf("faults are %q, want one that says %q", got.Faults, test.want)
			}
		})
	}
}

func TestHistoryFaults(t *testing.T) {
	t.Parallel()
	image, err := mutate.AppendLayers(makeImage(t), makeLayer(t, nil, "a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.History = []v1.History{{Created: v1.Time{Time: old}, EmptyLayer: true}, {Created: v1.Time{Time: old.Add(-1)}, EmptyLayer: true}}
	if image, err = mutate.ConfigFile(image, file); err != nil {
		t.Fatal(err)
	}
	want := []string{"history 1 () was created before the one before it", "the history tells of 0 layers, the manifest of 1"}
	if diff := cmp.Diff(want, read(t, image).Faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// A difference in any one property is found, and one that the options allow is not.
func TestDiff(t *testing.T) {
	t.Parallel()
	base := func() []string { return []string{"d/", "", "d/a", "text", "l", "->d/a", "h", "=>d/a"} }
	only := func(name string, change func(*tar.Header)) func(*tar.Header) {
		return func(h *tar.Header) {
			if h.Name == name {
				change(h)
			}
		}
	}
	since := old.Add(time.Hour)
	tests := []struct {
		name    string
		pairs   []string
		alter   func(*tar.Header)
		config  func(*v1.ConfigFile)
		options Options
		same    bool
	}{
		{name: "nothing", same: true},
		{name: "mode", alter: only("d/a", func(h *tar.Header) { h.Mode = 0o4644 })},
		{name: "owner", alter: only("d/", func(h *tar.Header) { h.Uid = 1 })},
		{name: "group", alter: only("l", func(h *tar.Header) { h.Gid = 1 })},
		{name: "time given", alter: only("d/", func(h *tar.Header) { h.ModTime = old.Add(time.Minute) })},
		{name: "time of the build", alter: only("d/", func(h *tar.Header) { h.ModTime = since.Add(time.Minute) })},
		{name: "xattr", alter: only("d/a", func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "x"} })},
		{name: "content", pairs: []string{"d/", "", "d/a", "TEXT", "l", "->d/a", "h", "=>d/a"}},
		{name: "content allowed", pairs: []string{"d/", "", "d/a", "longer", "l", "->d/a", "h", "=>d/a"}, options: Options{Content: map[string]string{"/d/a": "changes", "/h": "changes"}}, same: true},
		{name: "target", pairs: []string{"d/", "", "d/a", "text", "l", "->d", "h", "=>d/a"}},
		{name: "no hard link", pairs: []string{"d/", "", "d/a", "text", "l", "->d/a", "h", "text"}},
		{name: "missing", pairs: []string{"d/", "", "d/a", "text", "h", "=>d/a"}},
		{name: "more", pairs: append(base(), "x", "")},
		{name: "order", pairs: []string{"d/", "", "d/a", "text", "h", "=>d/a", "l", "->d/a"}, same: true},
		{name: "environment", config: func(f *v1.ConfigFile) { f.Config.Env = []string{"A=1"} }},
		{name: "author", config: func(f *v1.ConfigFile) { f.Author = "somebody" }},
		{name: "platform", config: func(f *v1.ConfigFile) { f.Architecture = "arm64" }},
		{name: "history", config: func(f *v1.ConfigFile) { f.History[0].CreatedBy = "another" }},
		{name: "time of the history", config: func(f *v1.ConfigFile) { f.History[0].Created = v1.Time{Time: old} }},
		{name: "comment of the history", config: func(f *v1.ConfigFile) { f.History[0].Comment = "by another" }},
		{name: "time", config: func(f *v1.ConfigFile) { f.Created = v1.Time{Time: old} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pairs := test.pairs
			if pairs == nil {
				pairs = base()
			}
			image := makeImage(t, makeLayer(t, test.alter, pairs...))
			if test.config != nil {
				file, err := image.ConfigFile()
				if err != nil {
					t.Fatal(err)
				}
				file = file.DeepCopy()
				test.config(file)
				if image, err = mutate.ConfigFile(image, file); err != nil {
					t.Fatal(err)
				}
			}
			test.options.Since = since
			diff := Diff(read(t, makeImage(t, makeLayer(t, nil, base()...))), read(t, image), test.options)
			if same := diff == ""; same != test.same {
				t.Errorf("the same: %t, want %t\n%s", same, test.same, diff)
			}
		})
	}
}

// Times of the build itself are the same whatever they are.
func TestDiffBuildTimes(t *testing.T) {
	t.Parallel()
	at := func(when time.Time) *Image {
		return read(t, makeImage(t, makeLayer(t, func(h *tar.Header) { h.ModTime = when }, "a", "1")))
	}
	options := Options{Since: old.Add(time.Second / 2)} // in the second in which the build began
	if diff := Diff(at(old), at(old.Add(time.Minute)), options); diff != "" {
		t.Error(diff)
	}
	for _, pair := range [][2]*Image{{at(old), at(old.Add(-time.Second))}, {at(old.Add(-time.Second)), at(old)}} {
		if diff := Diff(pair[0], pair[1], options); diff == "" {
			t.Error("a time before the build is not told from one of the build")
		}
	}
}

// A directory whose wanted time is that of the build may have kept its own, but not the other way round.
func TestDiffDirectoryTimes(t *testing.T) {
	t.Parallel()
	at := func(when time.Time) *Image {
		return read(t, makeImage(t, makeLayer(t, func(h *tar.Header) { h.ModTime = when }, "d/", "")))
	}
	before, after := at(old.Add(-time.Hour)), at(old.Add(time.Hour))
	if diff := Diff(after, before, Options{Since: old}); diff != "" {
		t.Error(diff)
	}
	if diff := Diff(before, after, Options{Since: old}); diff == "" {
		t.Error("a directory that got the time of the build is not told from one that kept its own")
	}
}

func TestWrongDiffID(t *testing.T) {
	t.Parallel()
	image := makeImage(t, makeLayer(t, nil, "a", "1"))
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readLayer(layers[0], v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}); err == nil || !strings.Contains(err.Error(), "diff ID") {
		t.Errorf("a wrong diff ID gives %v", err)
	}
}
