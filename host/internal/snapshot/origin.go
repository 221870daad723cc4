package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/executor"
)

// Origin is what a plain directory was before processes ran in it. It tells what of that is left.
type Origin struct {
	record *Record
	moved  map[string]shift
}

// NewOrigin starts with a record, which must have been awaited: see [Record.Await].
func NewOrigin(r *Record) *Origin { return &Origin{record: r, moved: map[string]shift{}} }

// Moved is told what the executor moved, each time a process has run. A file that something else happened to as well is not
// among that, and was moved for the last time.
func (o *Origin) Moved(shifts []executor.Shift) {
	for _, s := range shifts {
		old, now := s.Old.Nano(), s.New.Nano()
		switch m, again := o.moved[s.Path]; {
		case !again:
			o.moved[s.Path] = shift{old, now}
		case m.new == old:
			o.moved[s.Path] = shift{m.old, now}
		default:
			o.moved[s.Path] = shift{}
		}
	}
}

// errUnsure says that a walk saw what it cannot answer for.
var errUnsure = errors.New("something is mounted there, or somebody changes it")

// Untouched says which paths are as they were, with all below them: nothing may be there that a process could have changed, be it
// content, metadata, an attribute that nobody looks for, or another name of a file. A directory in which something changed, or
// that was moved, is not. Nobody may change the directory meanwhile.
//
// That rests on the status change time alone, which no process can set but by the clock. It is for who knows that none could set
// that, nor mount anything.
func (o *Origin) Untouched(ctx context.Context, opts Options) (func(path string) bool, error) {
	w := newWalker(o.record, opts)
	w.moved, w.against = o.moved, oldUntouched
	root := &found{}
	err := w.run(ctx, root)
	if err == nil && w.unsure.Load() {
		err = errUnsure
	}
	if err != nil {
		return nil, fmt.Errorf("find what is left as it was in %q: %w", o.record.dir, err)
	}
	return root.lacks, nil
}

// lacks says that a path is not shown, nor anything below it. What was in a directory that is none any more is gone.
func (f *found) lacks(path string) bool {
	f.stat.Mode = unix.S_IFDIR // of the root nobody asked
	for name := range strings.SplitSeq(path, "/") {
		if !f.isDir() {
			return false
		}
		i := sort.Search(len(f.children), func(i int) bool { return f.children[i].name >= name })
		if i == len(f.children) || f.children[i].name != name {
			return true
		}
		f = f.children[i]
	}
	return false
}
