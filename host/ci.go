package host

import (
	"strings"

	"github.com/trowel-build/trowel/host/internal/gitref"
)

// CI is what the environment of a CI job says about the commit that the job is about. It decides which commit of a
// repository is the build context if the context names none.
type CI struct {
	Tag, Branch, Commit string
	// Repository is the address of the repository that the job is about. Empty means that nobody knows; of another one
	// the remote's own branch is taken.
	Repository string
}

// ReadCI reads the variables of GitLab, Jenkins and those that work alike.
func ReadCI(getenv func(string) string) CI {
	return CI{
		Tag:        first(getenv("CI_COMMIT_TAG"), getenv("BUILD_TAG")),
		Branch:     strings.TrimPrefix(getenv("GIT_BRANCH"), "origin/"), // as Jenkins writes it
		Commit:     getenv("CI_COMMIT_SHA"),
		Repository: first(getenv("CI_REPOSITORY_URL"), getenv("CI_PROJECT_URL"), getenv("GIT_URL")),
	}
}

// refs are where to look for the commit in a repository, best first: a tag that the job is about, its branch, its commit, and
// what the remote has checked out.
func (c CI) refs(remote string) []string {
	if c.Repository != "" && place(c.Repository) != place(remote) {
		return []string{""}
	}
	var refs []string
	for _, r := range []struct{ prefix, name string }{{"refs/tags/", c.Tag}, {"refs/heads/", c.Branch}, {"", c.Commit}} {
		if r.name == "" || gitref.CheckRef(r.prefix+r.name) != nil || r.prefix == "" && !gitref.IsCommit(r.name) {
			continue
		}
		refs = append(refs, r.prefix+r.name)
	}
	return append(refs, "")
}

// place is where a repository is, however it is reached and whoever asks: host and path.
func place(remote string) string {
	if _, rest, ok := strings.Cut(remote, "://"); ok {
		remote = rest
	} else {
		remote = strings.Replace(remote, ":", "/", 1) // git@host:path
	}
	host, path, _ := strings.Cut(remote, "/")
	if _, h, ok := strings.Cut(host, "@"); ok {
		host = h
	}
	return strings.ToLower(host) + "/" + strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

// OverSSH says whether a build context is a repository that is reached with SSH, for which the user's agent is meant.
func OverSSH(context string) bool {
	r, ok, err := gitref.Parse(context, gitref.OnCommandLine)
	return ok && err == nil && (strings.HasPrefix(r.Remote, "ssh://") || !strings.Contains(r.Remote, "://"))
}
