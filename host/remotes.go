package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/buildcontext"
	"github.com/trowel-build/trowel/host/internal/download"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/git"
	"github.com/trowel-build/trowel/host/internal/gitref"
	"github.com/trowel-build/trowel/host/internal/kept"
	"github.com/trowel-build/trowel/host/internal/stage"
)

// remotes are what a build fetches from elsewhere, each looked up once.
type remotes struct {
	downloads *download.Client
	git       *git.Client
	dir       string    // for temporary files
	created   time.Time // of the build

	mu    sync.Mutex
	found map[effect.Location]*found
}

type found struct {
	once   sync.Once
	remote dated
	err    error
}

// dated is a remote that may have a time.
type dated interface {
	stage.Remote
	// Time is when it was made. It is fetched now if it has to be.
	Time(ctx context.Context) (time.Time, bool, error)
}

func (b *build) newRemotes() *remotes {
	copies := kept.Copies{Store: b.store, Cache: b.tiers}
	return &remotes{
		downloads: &download.Client{Web: b.client, Copies: copies, Secrets: b.secrets, Progress: b.progress()},
		git: &git.Client{
			Copies: copies, Dir: b.work.dir, Progress: b.progress(), Secrets: b.secrets, Credentials: b.gate.gated(b.Credentials),
			Hosts: b.registries(), Proxy: b.Proxy, Web: b.client, Agents: b.agents,
		},
		dir: b.work.dir, created: b.created,
		found: map[effect.Location]*found{},
	}
}

// Remote is [stage.Remotes]'s.
func (r *remotes) Remote(ctx context.Context, at effect.Location) (stage.Remote, error) {
	return r.find(ctx, at)
}

func (r *remotes) find(ctx context.Context, at effect.Location) (dated, error) {
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

func (r *remotes) look(ctx context.Context, at effect.Location) (dated, error) {
	if at.URL == (effect.URL{}) {
		c, err := r.git.Resolve(ctx, at.Git)
		if err != nil {
			return nil, err
		}
		return &repository{remotes: r, commit: c, modTime: at.Git.ModTime}, nil
	}
	d, err := r.downloads.Resolve(ctx, at.URL.Address, digest.Digest(at.URL.Checksum))
	if err != nil {
		return nil, err
	}
	return &file{url: at.URL, download: d, dir: r.dir}, nil
}

// file is a file that ADD names by its address.
type file struct {
	url      effect.URL
	download *download.Download
	dir      string // for temporary files

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
	name, err := download.Name(f.url.Address)
	if err != nil {
		return nil, err
	}
	f.tree, err = f.download.Tree(ctx, name)
	return f.tree, err
}

// Time is what the server says, or else that of the newest file in an archive. As in BuildKit, the server is not asked where
// a checksum says what the file is.
func (f *file) Time(ctx context.Context) (_ time.Time, _ bool, err error) {
	tree, err := f.Tree(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	if at, ok := f.download.ModTime(); ok && f.url.Checksum == "" {
		return at, true, nil
	}
	name, err := download.Name(f.url.Address)
	if err != nil {
		return time.Time{}, false, err
	}
	c, err := buildcontext.Unpack(ctx, tree, name, "", f.dir)
	if err != nil {
		return time.Time{}, false, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if c.Kind() != buildcontext.Archive {
		return time.Time{}, false, nil
	}
	at, ok := c.Time()
	return at, ok, nil
}

// repository is a commit that ADD names.
type repository struct {
	remotes *remotes
	commit  *git.Commit
	modTime gitref.ModTime

	mu   sync.Mutex
	tree *filetree.Tree
}

// Identity is [stage.Remote]'s.
func (r *repository) Identity() string { return r.commit.Identity() + string(r.modTime) }

// Tree is [stage.Remote]'s.
func (r *repository) Tree(ctx context.Context) (*filetree.Tree, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tree != nil {
		return r.tree, nil
	}
	c, err := r.remotes.checkOut(ctx, r.commit, r.modTime, "")
	if err != nil {
		return nil, err
	}
	r.tree, err = c.Tree(ctx, nil)
	return r.tree, err
}

// Time is that of the commit.
func (r *repository) Time(ctx context.Context) (time.Time, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, at, err := r.commit.Archive(ctx)
	return at, err == nil, err
}

// checkOut is a commit as a build context. Its archive is a plain one in the working store, so that nothing has to be closed.
func (r *remotes) checkOut(ctx context.Context, commit *git.Commit, modTime gitref.ModTime, dockerfile string) (*buildcontext.Fixed, error) {
	archive, committed, err := commit.Archive(ctx)
	if err != nil {
		return nil, err
	}
	c, err := buildcontext.Unpack(ctx, archive, git.ArchiveName, dockerfile, r.dir)
	if err != nil {
		return nil, err
	}
	tree, err := c.Tree(ctx, nil)
	if err != nil {
		return nil, err
	}
	at := committed
	if modTime == gitref.ModTimeCheckout {
		at = r.created
	}
	// What an archive does not name, such as its root, is dated as well.
	if tree, err = git.Redate(tree, at); err != nil {
		return nil, err
	}
	return buildcontext.Entire(tree, dockerfile).Dated(committed), nil
}
