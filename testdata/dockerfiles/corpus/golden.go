package corpus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/trowel-build/trowel/bench/imagediff"
)

// Golden is what a build of a case came to: an error, or images.
type Golden struct {
	Fails  string
	Index  *Index
	Images []*imagediff.Image
}

// Index is what is around the images.
type Index struct {
	MediaTypes  []string            `json:",omitempty"` // of the index and of what it lists; empty if there is no index
	Annotations []map[string]string `json:",omitempty"` // of the index, then of the descriptors of what it lists
	Descriptor  map[string]string   `json:",omitempty"` // annotations of what the layout lists
}

// line is one line of a golden file.
type line struct {
	Fails   string             `json:",omitempty"`
	Index   *Index             `json:",omitempty"`
	Image   *head              `json:",omitempty"`
	Config  map[string]any     `json:",omitempty"`
	History *imagediff.History `json:",omitempty"`
	File    string             `json:",omitempty"`
	Entry   *imagediff.Entry   `json:",omitempty"`
}

// head begins an image.
type head struct {
	Platform    string
	Author      string `json:",omitempty"`
	Created     time.Time
	Layers      int
	MediaTypes  []string
	Annotations map[string]string `json:",omitempty"`
	Faults      []string          `json:",omitempty"`
	// FromBase says that of the base's files only those follow that are otherwise.
	FromBase bool `json:",omitempty"`
}

// hostPlatform stands for the platform of the machine in a golden file.
const hostPlatform = "@HOST@"

// Encode makes the text of a golden file. In it, words stand for the references of the bases.
func (r *Reader) Encode(g *Golden, bases Bases) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	var errs []error
	write := func(l line) { errs = append(errs, encoder.Encode(l)) }
	if g.Fails != "" {
		write(line{Fails: g.Fails})
	}
	if g.Index != nil {
		write(line{Index: g.Index})
	}
	for _, i := range g.Images {
		h := head{
			Platform: i.Platform, Author: i.Author, Created: i.Created, Layers: len(i.Layers), MediaTypes: i.MediaTypes,
			Annotations: i.Annotations, Faults: i.Faults, FromBase: r.FromBase(i),
		}
		if h.Platform == "linux/"+runtime.GOARCH {
			h.Platform = hostPlatform
		}
		write(line{Image: &h})
		for _, key := range slices.Sorted(maps.Keys(i.Config)) {
			write(line{Config: map[string]any{key: i.Config[key]}})
		}
		for _, entry := range i.History {
			write(line{History: &entry})
		}
		files := i.Tree
		if h.FromBase {
			files = subtract(files, r.base.Tree)
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			entry := files[name]
			write(line{File: name, Entry: &entry})
		}
	}
	text := out.String()
	words := slices.SortedFunc(maps.Keys(bases), func(a, b string) int { // one reference may be the beginning of another
		return 2*(len(bases[b])-len(bases[a])) + strings.Compare(a, b)
	})
	for _, word := range words {
		text = strings.ReplaceAll(text, bases[word], word)
	}
	return []byte(text), errors.Join(errs...)
}

// Load reads a golden file.
func (r *Reader) Load(file string, bases Bases) (*Golden, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for word, reference := range bases {
		text = bytes.ReplaceAll(text, []byte(word), []byte(reference))
	}
	g := &Golden{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	for {
		var l line
		if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
			return g, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := r.add(g, l); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
}

func (r *Reader) add(g *Golden, l line) error {
	var last *imagediff.Image
	if len(g.Images) > 0 {
		last = g.Images[len(g.Images)-1]
	}
	switch {
	case l.Fails != "":
		g.Fails = l.Fails
	case l.Index != nil:
		g.Index = l.Index
	case l.Image != nil:
		h := l.Image
		i := &imagediff.Image{
			Platform: h.Platform, Author: h.Author, Created: h.Created, MediaTypes: h.MediaTypes, Annotations: h.Annotations, Faults: h.Faults,
			Layers: make([][]string, h.Layers), Config: map[string]any{}, Tree: map[string]imagediff.Entry{},
		}
		if h.FromBase {
			i.Tree = maps.Clone(r.base.Tree)
		}
		if i.Platform == hostPlatform {
			i.Platform = "linux/" + runtime.GOARCH
		}
		g.Images = append(g.Images, i)
	case last == nil:
		return errors.New("a line before its image")
	case l.Config != nil:
		maps.Copy(last.Config, l.Config)
	case l.History != nil:
		last.History = append(last.History, *l.History)
	case l.Entry != nil && l.Entry.Type == absent:
		delete(last.Tree, l.File)
	case l.Entry != nil:
		last.Tree[l.File] = *l.Entry
	}
	return nil
}

// absent is the type of an entry of the base that an image does not have.
const absent = "absent"

// FromBase says whether the image has the base's program where the base has it.
func (r *Reader) FromBase(image *imagediff.Image) bool {
	const program = "/bin/sh"
	return image.Tree[program].Digest == r.base.Tree[program].Digest
}

// subtract returns the files that are not as the base has them.
func subtract(files, base map[string]imagediff.Entry) map[string]imagediff.Entry {
	rest := maps.Clone(files)
	for name, entry := range base {
		own, there := files[name]
		switch {
		case !there:
			rest[name] = imagediff.Entry{Type: absent}
		case cmp.Equal(own, entry, cmpopts.EquateEmpty()):
			delete(rest, name)
		}
	}
	return rest
}

// Diff returns how a build of a case differs from what BuildKit made of it; since is when the build began.
func (c *Case) Diff(want, got *Golden, since time.Time) string {
	if want.Fails != "" || got.Fails != "" {
		if (want.Fails == "") != (got.Fails == "") {
			return fmt.Sprintf("BuildKit fails with %q\nTrowel fails with %q\n", want.Fails, got.Fails)
		}
		return ""
	}
	diff := cmp.Diff(want.Index, got.Index, cmpopts.EquateEmpty())
	if len(want.Images) != len(got.Images) {
		return diff + fmt.Sprintf("%d images, want %d\n", len(got.Images), len(want.Images))
	}
	for i := range want.Images {
		w, g := c.withoutDifferences(want.Images[i]), c.withoutDifferences(got.Images[i])
		diff += imagediff.Diff(w, g, imagediff.Options{Since: since})
		for _, fault := range got.Images[i].Faults {
			if !slices.Contains(want.Images[i].Faults, fault) {
				diff += "fault: " + fault + "\n"
			}
		}
	}
	return diff
}

// withoutDifferences is an image without the files that differ on purpose.
func (c *Case) withoutDifferences(image *imagediff.Image) *imagediff.Image {
	rest := *image
	rest.Tree = maps.Clone(image.Tree)
	maps.DeleteFunc(rest.Tree, func(name string, _ imagediff.Entry) bool {
		for pattern := range c.Differs {
			if ok, _ := path.Match(pattern, name); ok {
				return true
			}
		}
		return false
	})
	return &rest
}
