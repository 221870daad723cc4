package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/trowel-build/trowel/host/internal/gitref"
)

const (
	// maxDepth bounds how deep submodules may be nested, and maxSubmodules how many there may be in all.
	maxDepth      = 10
	maxSubmodules = 1000
)

// submodules adds the files of a repository's submodules.
func (a *archive) submodules(ctx context.Context, repo *repository, prefix string, depth int) error {
	commits, err := repo.submodules(ctx)
	if err != nil || len(commits) == 0 {
		return err
	}
	if a.modules += len(commits); depth == maxDepth || a.modules > maxSubmodules {
		return fmt.Errorf("submodules are nested more than %d deep, or there are more than %d", maxDepth, maxSubmodules)
	}
	known, err := repo.modules(ctx)
	if err != nil {
		return err
	}
	for _, s := range commits {
		at := path.Join(prefix, s.path)
		if sub := a.commit.want.Subdir; sub != "" && sub != at && !strings.HasPrefix(at, sub+"/") && !strings.HasPrefix(sub, at+"/") {
			continue
		}
		m := known[s.path]
		if m.update == "none" {
			continue // as git submodule update does
		}
		if m.url == "" {
			return fmt.Errorf("submodule %q: .gitmodules does not say where it is", at)
		}
		if err := a.submodule(ctx, repo, s, m.url, at, depth); err != nil {
			return fmt.Errorf("submodule %q: %w", at, err)
		}
	}
	return nil
}

// submodule adds the files of one.
func (a *archive) submodule(ctx context.Context, repo *repository, s gitlink, address, at string, depth int) error {
	from, err := repo.from.submodule(address)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(repo.dir), "submodule-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left goes with the build
	below, err := repo.client.fetch(ctx, dir, from, &a.commit.remote, s.commit, "")
	if err != nil {
		return err
	}
	return a.add(ctx, below, at, depth+1)
}

// gitlink is a submodule in a commit.
type gitlink struct{ path, commit string }

// submodules are those of the commit.
func (r *repository) submodules(ctx context.Context) ([]gitlink, error) {
	text, err := r.text(ctx, "ls-tree", "-r", "-z", "--full-tree", held)
	if err != nil {
		return nil, err
	}
	var all []gitlink
	for entry := range strings.SplitSeq(text, "\x00") {
		about, p, _ := strings.Cut(entry, "\t")
		if fields := strings.Fields(about); len(fields) == 3 && fields[0] == "160000" && gitref.IsCommit(fields[2]) {
			all = append(all, gitlink{p, fields[2]})
		}
	}
	return all, nil
}

// module is what .gitmodules says of a submodule.
type module struct{ path, url, update string }

// modules are what .gitmodules says, by path.
func (r *repository) modules(ctx context.Context) (map[string]module, error) {
	text, err := r.text(ctx, "config", "--no-includes", "--blob", held+":.gitmodules", "--null", "--list")
	if err != nil {
		return nil, fmt.Errorf("read .gitmodules: %w", err)
	}
	named := map[string]module{}
	for entry := range strings.SplitSeq(text, "\x00") {
		key, value, _ := strings.Cut(entry, "\n")
		rest, ok := strings.CutPrefix(key, "submodule.")
		dot := strings.LastIndexByte(rest, '.')
		if !ok || dot < 0 {
			continue
		}
		m := named[rest[:dot]]
		switch rest[dot+1:] {
		case "path":
			m.path = path.Clean(value)
		case "url":
			m.url = value
		case "update":
			m.update = value
		}
		named[rest[:dot]] = m
	}
	all := map[string]module{}
	for _, m := range named {
		all[m.path] = m
	}
	return all, nil
}

// submodule is where a submodule of the repository at r is, which may be said relative to it. It is never on this machine,
// unless the repository itself is and the submodule is named relative to it.
func (r remote) submodule(address string) (remote, error) {
	if !strings.HasPrefix(address, "./") && !strings.HasPrefix(address, "../") {
		// What is an address for git need not end in ".git".
		probe := address
		if strings.HasPrefix(address, "http://") || strings.HasPrefix(address, "https://") {
			probe = strings.TrimSuffix(strings.TrimSuffix(address, "/"), ".git") + ".git"
		}
		p, ok, err := gitref.Parse(probe, gitref.InDockerfile)
		if err == nil && (!ok || p.Ref+p.Subdir != "") {
			err = errors.New("only http, https, ssh and git are followed")
		}
		if err != nil {
			return remote{}, fmt.Errorf("address %q: %w", gitref.Redact(address), err)
		}
		return newRemote(address)
	}
	next := r
	if m := scp.FindStringSubmatch(r.address); m != nil && !strings.Contains(r.address, "://") {
		next.path = path.Join(m[2], address)
		next.address = strings.TrimSuffix(r.address, m[2]) + next.path
	} else {
		u, err := url.Parse(r.address)
		if err != nil {
			return remote{}, err
		}
		u.Path, u.RawPath = path.Join(u.Path, address), ""
		next.path, next.address = u.Path, u.String()
	}
	if strings.HasPrefix(strings.TrimPrefix(next.path, "/"), "-") || strings.HasPrefix(next.path, "..") {
		return remote{}, fmt.Errorf("address %q leads nowhere", address)
	}
	return next, nil
}
