package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// repository is one of our own that has a commit.
type repository struct {
	client *Client
	dir    string
	from   remote
	main   *remote // of the repository that the build names, if this one is a submodule of it
	commit string
}

const (
	// held is the ref under which a commit is held.
	held = "refs/trowel/commit"
	// everything stands for all branches and tags; it can be no ref.
	everything = "*"
)

// fetch brings a commit into a new repository below dir: of its ref, if it is known and still leads there, or else by
// itself; and where the remote gives out no commit that is not a ref's, with all that the remote has.
func (c *Client) fetch(ctx context.Context, dir string, at remote, main *remote, commit, ref string) (*repository, error) {
	r := &repository{client: c, dir: filepath.Join(dir, "repository"), from: at, main: main, commit: commit}
	format := "sha1"
	if len(commit) == 64 {
		format = "sha256"
	}
	init := []string{"init", "--quiet", "--bare"}
	if format != "sha1" {
		init = append(init, "--object-format="+format)
	}
	if err := c.git(ctx, run{args: append(init, "--", r.dir)}); err != nil {
		return nil, err
	}
	// Attributes of the repository must not leave files out of an archive, or put something into them.
	info := filepath.Join(r.dir, "info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(info, "attributes"), []byte("* -export-ignore -export-subst\n"), 0o644); err != nil {
		return nil, err
	}
	var err error
	for _, name := range []string{ref, commit, everything} {
		if name == "" {
			continue
		}
		if err = r.try(ctx, name); err == nil && r.has(ctx) {
			return r, nil
		}
		if err != nil && (ctx.Err() != nil || refused(err)) {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("it has no commit %s", commit)
}

// try fetches one ref or commit, or everything.
func (r *repository) try(ctx context.Context, name string) error {
	refspecs, depth := []string{name + ":" + held}, []string{"--depth=1"}
	if name == everything {
		refspecs, depth = []string{"+refs/heads/*:refs/trowel/heads/*", "+refs/tags/*:refs/trowel/tags/*"}, nil
	}
	fetch := func(depth []string) error {
		return r.client.talk(ctx, r.from, r.main, func(at remote, auth authorization) error {
			args := slices.Concat([]string{"fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force"},
				depth, []string{"--", at.address}, refspecs)
			return r.client.git(ctx, run{args: args, dir: r.dir, remote: &at, auth: auth})
		})
	}
	err := fetch(depth)
	if e, ok := errors.AsType[*Error](err); ok && (strings.Contains(e.Said, "shallow") || strings.Contains(e.Said, "--depth")) {
		return fetch(nil) // a remote that is a heap of files has no other way
	}
	return err
}

// has says whether the commit is there, and holds it.
func (r *repository) has(ctx context.Context) bool {
	text, err := r.text(ctx, "rev-parse", "--verify", "--quiet", held+"^{commit}")
	if err == nil && strings.TrimSpace(text) == r.commit {
		return true
	}
	// A tag that was named by its own ID, or a commit among others.
	text, err = r.text(ctx, "rev-parse", "--verify", "--quiet", r.commit+"^{commit}")
	if err != nil {
		return false
	}
	r.commit = strings.TrimSpace(text)
	_, err = r.text(ctx, "update-ref", held, r.commit)
	return err == nil
}

// text runs git in the repository and returns what it prints.
func (r *repository) text(ctx context.Context, args ...string) (string, error) {
	return r.client.text(ctx, run{args: args, dir: r.dir})
}

// time is when the commit was made.
func (r *repository) time(ctx context.Context) (time.Time, error) {
	text, err := r.text(ctx, "show", "--no-patch", "--no-notes", "--format=%ct", r.commit)
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || seconds < 0 {
		return time.Unix(0, 0), nil //nolint:nilerr // a commit can say anything
	}
	return time.Unix(seconds, 0), nil
}
