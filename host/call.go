package host

import (
	"errors"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/plan"
)

// Location is where something stands in a Dockerfile. Its JSON form is BuildKit's, as that of all that [Check], [Outline] and
// [Targets] return.
type Location struct {
	Ranges []Range `json:"ranges,omitempty"`
}

// Range is a part of a file.
type Range struct {
	Start Point `json:"start"`
	End   Point `json:"end"`
}

// Point is a place in a file, counted from 1.
type Point struct {
	Line int `json:"line,omitempty"`
}

// locate has a range for each line, as BuildKit does.
func locate(p dockerfile.Position) *Location {
	l := &Location{}
	for n := p.First; n > 0 && n <= p.Last; n++ {
		l.Ranges = append(l.Ranges, Range{Point{n}, Point{n}})
	}
	return l
}

// evaluate reads a Dockerfile without building it, for the first platform.
func evaluate(r Request, stages plan.Extent, do func(*build) error) (err error) {
	b := &build{Request: r, created: r.created(), stages: stages}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.prepare(nil); err != nil {
		return err
	}
	b.platforms = b.platforms[:1]
	return do(b)
}
