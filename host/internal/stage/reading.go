package stage

import (
	"context"
	"errors"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filecopy"
	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// reading is what a copy or a mount takes from elsewhere.
type reading struct {
	effect.Copy               // of a mount, its sources alone
	mount       *effect.Mount // nil for a copy
}

// readings are all that effects read.
func readings(effects []effect.Effect) []reading {
	var all []reading
	for _, x := range effects {
		switch x := x.(type) {
		case effect.Copy:
			all = append(all, reading{Copy: x})
		case effect.Exec:
			for _, m := range x.Mounts {
				if m.ReadsFiles() {
					all = append(all, reading{effect.Copy{Sources: []effect.CopySource{mountSource(m)}}, &m})
				}
			}
		}
	}
	return all
}

// mountSource is the source of a mount as a copy would name it.
func mountSource(m effect.Mount) effect.CopySource {
	return effect.CopySource{From: m.From, Paths: []string{pattern.Escape(m.Source)}}
}

// filesOf lists the files that are read, in a form that does not depend on where they go: a copy is planned into an empty
// tree; and names of owners are left to the key's text, as an empty tree knows none. It also says which are unpacked if they
// are archives.
func (e *Engine) filesOf(ctx context.Context, r reading, tree sourceTree) (changes []filetree.Change, named []string, err error) {
	if r.mount != nil {
		changes, err = mountedFiles(ctx, *r.mount, mountedName, tree)
		return changes, nil, err
	}
	spec, err := e.copySpec(ctx, r.Copy, tree)
	if err != nil {
		return nil, nil, err
	}
	changes, err = filecopy.Plan(filetree.Empty(), spec)
	return changes, filecopy.Named(spec.Sources), err
}

// mountedName is what the files of a mount are called where they lie.
const mountedName = "source"

// mountedFiles lists what a mount shows, under a name.
func mountedFiles(ctx context.Context, m effect.Mount, name string, tree sourceTree) ([]filetree.Change, error) {
	t, err := tree(ctx, m.From)
	if err != nil {
		return nil, err
	}
	changes, err := t.Extract(m.Source, name)
	return changes, missingSource(m, err)
}

// missingSource says where it is that a mount's source cannot be found.
func missingSource(m effect.Mount, err error) error {
	switch {
	case errors.Is(err, filetree.ErrNotExist):
		return &filecopy.MissingError{Path: m.Source, In: locationName(m.From)}
	case err != nil:
		return fmt.Errorf("source in %s: %w", locationName(m.From), err)
	}
	return nil
}

// locations are the places that effects read files from.
func locations(effects []effect.Effect) []effect.Location {
	var at []effect.Location
	for _, r := range readings(effects) {
		for _, src := range r.Sources {
			at = append(at, src.From)
		}
	}
	return at
}

// wantedOf are the paths that effects read at a location.
func wantedOf(effects []effect.Effect, at effect.Location) []string {
	var wanted []string
	for _, r := range readings(effects) {
		for _, src := range r.Sources {
			if src.From == at {
				wanted = append(wanted, src.Paths...)
			}
		}
	}
	return wanted
}
