// Package git reads repositories: what ADD names, and build contexts. It runs the program git, and lets it do as little as
// can be: a shallow fetch of one commit into an empty repository of its own. Nothing is ever checked out. The commit's files
// come as an archive that git writes, in which no link can lead anywhere, and which is kept for the next build.
//
//	git.go        what is wanted, and what it turned out to be
//	run.go        the program, with no configuration, hook, prompt or protocol that was not asked for
//	auth.go       who we are to a remote      remote.go  what a remote has
//	fetch.go      one commit                  archive.go the commit's files, and .git
//	submodule.go  repositories in it
package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/gitref"
	"github.com/trowel-build/trowel/host/internal/kept"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/secret"
	"github.com/trowel-build/trowel/host/internal/sshagent"
	"github.com/trowel-build/trowel/sdk"
)

// Client reads repositories.
type Client struct {
	Copies   kept.Copies
	Dir      string // for temporary files
	Progress progress.Reporter
	// Secrets and Credentials say who we are. Credentials are asked only once a remote refused us.
	Secrets     *secret.Store
	Credentials []sdk.CredentialProvider
	// Hosts and Proxy say how git reaches remotes. Web is told the same: see [Client.talk].
	Hosts map[string]registry.Settings
	Proxy registry.Proxy
	Web   *registry.Client
	// Agents say who we are to SSH: the one called "default".
	Agents *sshagent.Agents
}

// Commit is a commit of a repository. It is for one goroutine.
type Commit struct {
	client *Client
	want   effect.Git
	remote remote
	ID     string // its full name
	Ref    string // the full ref that it was found under; empty if it was named itself
}

// record is what is kept of a commit.
type record struct {
	Archive digest.Digest `json:"archive"`
	Time    int64         `json:"time"` // of the commit, in seconds since the epoch
}

// Resolve finds the commit that is wanted. Of several refs the first counts that the remote has; "" is the remote's own
// choice. Nothing is fetched.
func (c *Client) Resolve(ctx context.Context, want effect.Git, refs ...string) (*Commit, error) {
	if len(refs) == 0 {
		refs = []string{want.Ref}
	}
	at, err := newRemote(want.Remote)
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", gitref.Redact(want.Remote), err)
	}
	m := &Commit{client: c, want: want, remote: at}
	switch {
	case gitref.IsCommit(refs[0]):
		m.ID = strings.ToLower(refs[0])
		return m, nil
	case want.Fetch == gitref.FetchCommit:
		m.ID, m.Ref = want.Commit, full(refs[0])
		return m, nil
	}
	found, err := c.list(ctx, at, refs)
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", at, err)
	}
	if !strings.HasPrefix(found.commit, want.Commit) && !strings.HasPrefix(found.object, want.Commit) {
		return nil, fmt.Errorf("repository %q: %s is at the commit %s, and %s was expected", at, found.ref, found.commit, want.Commit)
	}
	m.ID, m.Ref = found.commit, found.ref
	return m, nil
}

// full is a ref of which only a name is known as a full one: a branch, as git prefers.
func full(ref string) string {
	if ref == "" || strings.HasPrefix(ref, "refs/") {
		return ref
	}
	return "refs/heads/" + ref
}

// Identity stands for the files.
func (m *Commit) Identity() string {
	parts := []string{"commit", m.ID, m.want.Subdir, string(m.want.Submodules)}
	if m.want.Directory == effect.GitDirectoryKept {
		parts = append(parts, "with", m.remote.String(), m.Ref)
	}
	return fmt.Sprintf("%q", parts)
}

// key is that of the record about the commit. It names the remote, by which submodules are found.
func (m *Commit) key() sdk.Key {
	return sdk.Key("git/" + digest.FromString(m.Identity()+m.remote.String()).Encoded())
}

// ArchiveName is the name of the one file in the tree that [Commit.Archive] returns.
const ArchiveName = "archive.tar"

// Archive is a tree with one file, a tar with the commit's files: owned by root, mode 0644 or 0755, dated by the commit. It is
// made now if there is no copy. The other result is the time of the commit.
func (m *Commit) Archive(ctx context.Context) (*filetree.Tree, time.Time, error) {
	var r record
	if m.client.Copies.Look(ctx, m.key(), &r) {
		if f, ok := m.client.Copies.Find(ctx, r.Archive); ok {
			return single(ctx, f, time.Unix(r.Time, 0))
		}
	}
	f, at, err := m.make(ctx)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("repository %q: %w", m.remote, err)
	}
	return single(ctx, f, at)
}

func single(ctx context.Context, f *kept.File, at time.Time) (*filetree.Tree, time.Time, error) {
	e, err := f.Entry(ctx, ArchiveName)
	if err != nil {
		return nil, at, err
	}
	tree, err := f.Tree(e)
	return tree, at, err
}

// make fetches the commit and writes its files.
func (m *Commit) make(ctx context.Context) (_ *kept.File, at time.Time, err error) {
	shown := progress.StartTransfer(m.client.Progress, string(m.key()), fmt.Sprintf("fetch %s %.12s", m.remote, m.ID), 0)
	defer func() { shown.Done(ctx, err) }()
	dir, err := os.MkdirTemp(m.client.Dir, "git-")
	if err != nil {
		return nil, at, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left goes with the build
	repo, err := m.client.fetch(ctx, dir, m.remote, nil, m.ID, m.Ref)
	if err != nil {
		return nil, at, err
	}
	if at, err = repo.time(ctx); err != nil {
		return nil, at, err
	}
	out, err := m.client.Copies.Store.Create(ctx)
	if err != nil {
		return nil, at, err
	}
	if err := m.write(ctx, dir, repo, out, at); err != nil {
		return nil, at, fmt.Errorf("read the commit %s: %w", m.ID, errors.Join(err, out.Abort(err)))
	}
	b, err := out.Commit(ctx)
	if err != nil {
		return nil, at, err
	}
	f, err := m.client.Copies.Keep(ctx, b)
	if err != nil {
		return nil, at, err
	}
	d, _, err := b.Wait(ctx)
	if err != nil {
		return nil, at, err
	}
	return f, at, m.client.Copies.Note(ctx, m.key(), record{Archive: d, Time: at.Unix()})
}
