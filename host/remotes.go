package host

import (
	"context"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/download"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/kept"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// remotes are what a build fetches from elsewhere, each looked up once.
type remotes struct {
	downloads *download.Client

	mu    sync.Mutex
	found map[effect.Location]*found
}

type found struct {
	once   sync.Once
	remote stage.Remote
	err    error
}

func (b *build) newRemotes() *remotes {
	copies := kept.Copies{Store: b.store, Cache: b.tiers}
	return &remotes{
		downloads: &download.Client{Web: b.client, Copies: copies, Secrets: b.secrets, Progress: b.progress()},
		found:     map[effect.Location]*found{},
	}
}

// Remote is [stage.Remotes]'s.
func (r *remotes) Remote(ctx context.Context, at effect.Location) (stage.Remote, error) {
	r.mu.Lock()
	f := r.found[at]
	if f == nil {
		f = &found{}
		r.found[at] = f
	}
	r.mu.Unlock()
	f.once.Do(func() { f.remote, f.err = r.look(ctx, at) })
	return f.remote, f.err
}

func (r *remotes) look(ctx context.Context, at effect.Location) (stage.Remote, error) {
	if at.URL == (effect.URL{}) {
		return nil, errors.New("git repositories are not supported yet")
	}
	d, err := r.downloads.Resolve(ctx, at.URL.Address, digest.Digest(at.URL.Checksum))
	if err != nil {
		return nil, err
	}
	return &file{address: at.URL.Address, download: d}, nil
}

// file is a file that ADD names by its address.
type file struct {
	address  string
	download *download.Download

	mu   sync.Mutex
	tree *filetree.Tree
}

// Identity is [stage.Remote]'s.
func (f *file) Identity() string { return f.download.Identity() }

// Tree is [stage.Remote]'s.
func (f *file) Tree(ctx context.Context) (*filetree.Tree, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tree != nil {
		return f.tree, nil
	}
	name, err := download.Name(f.address)
	if err != nil {
		return nil, err
	}
	f.tree, err = f.download.Tree(ctx, name)
	return f.tree, err
}
