package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/gitref"
	"github.com/trowel-build/trowel/host/internal/progress"
)

// openRepository opens a context that is a git repository; ok is false if none is named.
func (b *build) openRepository(ctx context.Context, at string, what which) (_ buildContext, ok bool, err error) {
	where, ok, err := gitref.Parse(at, gitref.OnCommandLine)
	if !ok || err != nil {
		return nil, ok, withRepository(at, err)
	}
	want := effect.Git{Remote: where.Remote, Ref: where.Ref, Commit: where.Commit, Subdir: where.Subdir, ModTime: where.ModTime, Fetch: where.Fetch}
	if where.Submodules != nil && !*where.Submodules {
		want.Submodules = effect.SubmodulesEmpty
	}
	if where.KeepGitDir != nil && *where.KeepGitDir || what == mainContext && isTrue(b.BuildArgs["BUILDKIT_CONTEXT_KEEP_GIT_DIR"]) {
		want.Directory = effect.GitDirectoryKept
	}
	refs := []string{where.Ref}
	if what == mainContext && where.Ref == "" && where.Fetch == gitref.FetchRef {
		refs = b.CI.refs(where.Remote)
	}
	commit, err := b.remotes.git.Resolve(ctx, want, refs...)
	if err != nil {
		return nil, true, err
	}
	b.progress().Report(Event{
		Time: time.Now(), Kind: progress.KindMessage, Level: "info",
		Text: strings.TrimSpace(fmt.Sprintf("build context %s: commit %s %s", gitref.Redact(where.Remote), commit.ID, commit.Ref)),
	})
	c, err := b.remotes.checkOut(ctx, commit, where.ModTime, b.dockerfilePath())
	if err != nil {
		return nil, true, err
	}
	return c, true, nil
}

// which says which context a repository is for.
type which string

// The contexts.
const (
	mainContext  which = "main"
	namedContext which = "named"
)

func isTrue(text string) bool {
	v, err := strconv.ParseBool(text)
	return err == nil && v
}

func withRepository(at string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("repository %q: %w", gitref.Redact(at), err)
}

// isRepository says whether what "file://" names is a repository of git, with or without files checked out.
func isRepository(file string) bool {
	file, _, _ = strings.Cut(file, "#")
	for _, objects := range []string{".git", "objects"} {
		if _, err := os.Stat(filepath.Join(file, objects)); err == nil {
			return true
		}
	}
	return false
}
