package main

import (
	"errors"
	"path"
	"slices"

	"github.com/google/go-jsonnet"

	"github.com/trowel-build/trowel/sdk"
)

// importer reads templates and what they import from the build context. Whatever it asks for, found or not, the host
// remembers: a change in an imported file, or a file that comes to stand before it in the search, makes the step anew.
type importer struct {
	readFile  func(name string) ([]byte, error)
	libraries []string
	seen      map[string]found // by path
}

// found is what a path holds.
type found struct {
	contents jsonnet.Contents
	err      error
}

// Import is [jsonnet.Importer]'s.
func (i *importer) Import(from, wanted string) (contents jsonnet.Contents, foundAt string, err error) {
	places := []string{path.Clean(wanted)}
	if !path.IsAbs(wanted) {
		places[0] = path.Join(path.Dir(from), wanted)
		// Later ones win, as with jsonnet's own -J.
		for _, dir := range slices.Backward(i.libraries) {
			places = append(places, path.Join(dir, wanted))
		}
	}
	for _, at := range places {
		f, ok := i.seen[at]
		if !ok {
			f = i.read(at)
			i.seen[at] = f
		}
		if errors.Is(f.err, sdk.ErrNotFound) {
			continue
		}
		return f.contents, at, f.err
	}
	return jsonnet.Contents{}, "", invalid("the build context has no " + wanted + " to import")
}

func (i *importer) read(at string) found {
	text, err := i.readFile(at)
	if err != nil {
		return found{err: err}
	}
	return found{contents: jsonnet.MakeContentsRaw(text)}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
