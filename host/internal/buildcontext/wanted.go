package buildcontext

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// want is a path or pattern as COPY names its sources, seen from a directory: what of it is still to be matched.
type want struct {
	elements []string // never empty
	// wild is set once an element with a wildcard was matched: from there on COPY follows no symlink but the last.
	wild bool
}

// wants is what is wanted of one directory.
type wants struct {
	all  bool   // everything in it
	some []want // also then: where a symlink leads is wanted only if it is named
}

// newWants reads the sources of COPY instructions.
func newWants(paths []string) wants {
	var w wants
	for _, p := range paths {
		p = filetree.Clean(p)
		if p == "" {
			return wants{all: true}
		}
		w.some = append(w.some, want{elements: strings.Split(p, "/")})
	}
	return w.simplified()
}

// simplified turns what crosses directories into all.
func (w wants) simplified() wants {
	w.all = w.all || slices.ContainsFunc(w.some, func(x want) bool {
		_, err := filepath.Match(x.elements[0], "")
		return err != nil || strings.Contains(x.elements[0], "**")
	})
	return w
}

// names lists the only entries of the directory that can be wanted, if that is known without reading it.
func (w wants) names() ([]string, bool) {
	if w.all {
		return nil, false
	}
	var names []string
	for _, x := range w.some {
		if pattern.HasWildcard(x.elements[0]) {
			return nil, false
		}
		names = append(names, x.elements[0])
		if plain := pattern.Unescape(x.elements[0]); plain != x.elements[0] {
			names = append(names, plain)
		}
	}
	return names, true
}

// of is what is wanted of the entry name. When it is a symlink, follow are the paths below it that have to be looked up
// where it leads; "" stands for itself.
func (w wants) of(name string) (below wants, follow []string, wanted bool) {
	below.all = w.all
	wanted = w.all
	for _, x := range w.some {
		first := x.elements[0]
		wild := pattern.HasWildcard(first)
		if !wild && first != name && pattern.Unescape(first) != name {
			continue
		}
		if wild {
			if ok, err := filepath.Match(first, name); err != nil || !ok {
				continue
			}
		}
		wanted = true
		wild = wild || x.wild
		rest := x.elements[1:]
		switch {
		case len(rest) == 0:
			below.all = true
			follow = append(follow, "")
		default:
			below.some = append(below.some, want{elements: rest, wild: wild})
			if !wild {
				follow = append(follow, strings.Join(rest, "/"))
			}
		}
	}
	return below.simplified(), follow, wanted
}
