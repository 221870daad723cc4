package stage

import (
	"context"
	"fmt"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Remotes find what is elsewhere.
type Remotes interface {
	// Remote finds out what is at a location, and fetches it only if there is no other way to know.
	Remote(ctx context.Context, at effect.Location) (Remote, error)
}

// Remote is what is elsewhere: a file on a web server, or a commit in a repository.
type Remote interface {
	// Identity stands for the content in cache keys.
	Identity() string
	// Tree is the files, fetched now if they have to be.
	Tree(ctx context.Context) (*filetree.Tree, error)
}

// findRemotes notes what the steps name elsewhere.
func (e *Engine) findRemotes() {
	for _, s := range e.order {
		for _, st := range s.steps {
			for _, at := range locations(st.Effects) {
				if at.IsRemote() && e.remotes[at] == nil {
					e.remotes[at] = &lazy[Remote]{}
				}
			}
		}
	}
}

// resolveRemotes looks up all that is elsewhere, at once. Whoever wants one waits for it, and sees its error.
func (e *Engine) resolveRemotes(ctx context.Context) {
	for at := range e.remotes {
		e.background.Go(func() error {
			_, _ = e.remote(ctx, at)
			return nil
		})
	}
}

// remote is what is at a location.
func (e *Engine) remote(ctx context.Context, at effect.Location) (Remote, error) {
	l, ok := e.remotes[at]
	if !ok {
		return nil, fmt.Errorf("%s was not looked up", locationName(at))
	}
	return l.get(func() (Remote, error) { return e.Remotes.Remote(ctx, at) })
}

// remoteTree is the files at a location.
func (e *Engine) remoteTree(ctx context.Context, at effect.Location) (*filetree.Tree, error) {
	r, err := e.remote(ctx, at)
	if err != nil {
		return nil, err
	}
	return r.Tree(ctx)
}
