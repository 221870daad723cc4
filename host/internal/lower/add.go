package lower

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/dockerfile"
	"github.com/trowel-build/trowel/host/internal/download"
	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filecopy/pattern"
	"github.com/trowel-build/trowel/host/internal/gitref"
)

// add lowers ADD.
func (l *lowering) add(c *dockerfile.Add, step *Step) error {
	s := copySpec{
		keyword: "ADD", from: effect.Location{Context: effect.MainContext}, exclude: c.ExcludePatterns, unpack: effect.UnpackAlways,
	}
	if c.Unpack != nil && !*c.Unpack {
		s.unpack = effect.UnpackNever
	}
	if err := l.expandCopy(&s, c.SourcesAndDest, c.Chown, c.Chmod); err != nil {
		return err
	}
	if c.Link {
		s.overlay = effect.OverlayLinked
	}
	if err := l.remotes(c, &s); err != nil {
		return err
	}
	return l.finishCopy(s, step)
}

// remotes finds the sources of ADD that are not local.
func (l *lowering) remotes(c *dockerfile.Add, s *copySpec) error {
	checksum, err := l.word(c.Checksum)
	if err != nil {
		return err
	}
	if checksum != "" && len(s.sources)+len(s.inline) != 1 {
		return l.fail("--checksum", errors.New("--checksum is for one source, and there are several"), "write an ADD for each")
	}
	s.remotes = map[string]effect.CopySource{}
	git := false
	for _, src := range s.sources {
		var source effect.CopySource
		switch remote(src) {
		case remoteGit:
			git = true
			source, err = gitSource(src, checksum, c.KeepGitDir)
		case remoteURL:
			source, err = urlSource(src, checksum, c.Unpack)
		default:
			continue
		}
		if err != nil {
			return l.fail(src, fmt.Errorf("source %q: %w", gitref.Redact(src), err), "")
		}
		s.remotes[src] = source
	}
	if checksum != "" && len(s.remotes) == 0 {
		return l.fail("--checksum", errors.New("--checksum is for the source of a URL or a git repository"), "")
	}
	if c.KeepGitDir != nil && !git {
		l.warnings = append(l.warnings, dockerfile.Warning{
			Position: l.in.Position, Text: "--keep-git-dir has no effect: no source is a git repository",
		})
	}
	return nil
}

// urlSource is a file that a web server has.
func urlSource(src, checksum string, unpack *bool) (effect.CopySource, error) {
	if m := protocol.FindString(src); m != "http://" && m != "https://" {
		return effect.CopySource{}, fmt.Errorf("nothing can be fetched from %s…: only http, https and git repositories are known", m)
	}
	if checksum != "" {
		d, err := digest.Parse(checksum)
		if err == nil && d.Algorithm() != digest.SHA256 {
			err = errors.New("only sha256 is supported")
		}
		if err != nil {
			return effect.CopySource{}, fmt.Errorf("--checksum=%s: %w", checksum, err)
		}
	}
	name, err := download.Name(src)
	if err != nil {
		return effect.CopySource{}, err
	}
	source := effect.CopySource{
		From: effect.Location{URL: effect.URL{Address: src, Checksum: checksum}}, Paths: []string{pattern.Escape(name)},
	}
	if unpack != nil && *unpack {
		source.Unpack = effect.UnpackAlways
	}
	return source, nil
}

// gitSource is the files of a repository.
func gitSource(src, checksum string, keep *bool) (effect.CopySource, error) {
	r, _, err := gitref.Parse(src, gitref.InDockerfile)
	if err != nil {
		return effect.CopySource{}, err
	}
	if checksum = strings.ToLower(checksum); checksum != "" && r.Commit != "" && r.Commit != checksum {
		return effect.CopySource{}, fmt.Errorf("--checksum=%s is not the commit %s", checksum, r.Commit)
	}
	if checksum != "" {
		if err := r.Pin(checksum); err != nil {
			return effect.CopySource{}, fmt.Errorf("--checksum: %w", err)
		}
	}
	if keep != nil && r.KeepGitDir != nil && *keep != *r.KeepGitDir {
		return effect.CopySource{}, fmt.Errorf("--keep-git-dir=%v contradicts the query", *keep)
	}
	if r.KeepGitDir != nil {
		keep = r.KeepGitDir
	}
	at := effect.Git{Remote: r.Remote, Ref: r.Ref, Commit: r.Commit, Subdir: r.Subdir, ModTime: r.ModTime, Fetch: r.Fetch}
	if keep != nil && *keep {
		at.Directory = effect.GitDirectoryKept
	}
	if r.Submodules != nil && !*r.Submodules {
		at.Submodules = effect.SubmodulesEmpty
	}
	return effect.CopySource{From: effect.Location{Git: at}, Paths: []string{"."}}, nil
}

var protocol = regexp.MustCompile(`^[a-zA-Z0-9]+://`)

// What a source can be that is not local, as messages say it.
const (
	remoteURL = "URL"
	remoteGit = "git repository"
)

// remote is what a source is that is not a local file, or "".
func remote(src string) string {
	if _, ok, _ := gitref.Parse(src, gitref.InDockerfile); ok {
		return remoteGit
	}
	if protocol.MatchString(src) {
		return remoteURL
	}
	return ""
}
