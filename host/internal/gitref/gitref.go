// Package gitref reads the ways to name a git repository with a place in it, as docker build takes them:
//
//	https://host/team/app.git#main:services/api
//	https://host/team/app.git?tag=v1&subdir=services/api
//	git@host:team/app.git
//
// Nothing that it returns can be taken for an option by git or ssh.
package gitref

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Repository is a git repository and what is wanted of it.
type Repository struct {
	Remote string // as git takes it
	Ref    string // a branch, a tag, a full ref or a full commit; empty for the remote's own choice
	Commit string // the start of the commit that it must be, in lower case; empty for any
	Subdir string // clean and relative; empty for all
	// KeepGitDir and Submodules are nil where nothing is said of them.
	KeepGitDir, Submodules *bool
	ModTime                ModTime
	Fetch                  Fetch
}

// ModTime says what time files get.
type ModTime string

// The times of files.
const (
	ModTimeDefault  ModTime = ""
	ModTimeCheckout ModTime = "checkout"
	ModTimeCommit   ModTime = "commit"
)

// Fetch says what is asked of the remote.
type Fetch string

// The ways to fetch.
const (
	FetchRef    Fetch = ""       // the commit that the ref is at
	FetchCommit Fetch = "commit" // the commit itself; the remote is not asked about the ref
)

// Where a repository is named.
type Where string

// The places.
const (
	InDockerfile  Where = "in a Dockerfile"
	OnCommandLine Where = "on the command line" // where the user may name what is on this machine, github.com/x/y and git+https://
)

var (
	scheme   = regexp.MustCompile(`^[a-zA-Z0-9]+://`)
	scpStyle = regexp.MustCompile(`^([a-zA-Z0-9_][a-zA-Z0-9_-]*)@([a-zA-Z0-9.][a-zA-Z0-9.-]*):([^?#]*)(?:\?([^#]*))?(?:#(.*))?$`)
	commitID = regexp.MustCompile(`^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$`)
	hex      = regexp.MustCompile(`^[0-9a-fA-F]{1,64}$`)
)

// IsCommit says whether a ref is a commit by its full name.
func IsCommit(ref string) bool { return commitID.MatchString(ref) }

// Parse reads what may name a repository. ok is false if it names none; an error is about one that is named badly.
func Parse(text string, where Where) (_ Repository, ok bool, err error) {
	remote, query, fragment, ok := split(text, where)
	if !ok {
		return Repository{}, false, nil
	}
	r := Repository{Remote: remote}
	if err := checkRemote(remote); err != nil {
		return r, true, err
	}
	ref, subdir, _ := strings.Cut(fragment, ":")
	r.Ref, r.Subdir = ref, clean(subdir)
	values, err := url.ParseQuery(query)
	if err != nil {
		return r, true, fmt.Errorf("bad query: %w", err)
	}
	if err := r.query(values); err != nil {
		return r, true, err
	}
	return r, true, r.check()
}

// split takes a text apart, if it names a repository.
func split(text string, where Where) (remote, query, fragment string, ok bool) {
	if strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		return "", "", "", false
	}
	bare := where == OnCommandLine && strings.HasPrefix(text, "github.com/")
	said := where == OnCommandLine && (strings.HasPrefix(text, "git+https://") || strings.HasPrefix(text, "git+http://"))
	if bare {
		text = "https://" + text
	} else if said { // a repository, whatever its path ends in
		text, bare = strings.TrimPrefix(text, "git+"), true
	} else if m := scpStyle.FindStringSubmatch(text); m != nil {
		return m[1] + "@" + m[2] + ":" + m[3], m[4], m[5], true
	} else if !scheme.MatchString(text) {
		return "", "", "", false
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", "", false
	}
	switch u.Scheme {
	case "http", "https":
		if !bare && !strings.HasSuffix(u.Path, ".git") {
			return "", "", "", false
		}
	case "ssh", "git":
	case "file":
		if where != OnCommandLine {
			return "", "", "", false
		}
	default:
		return "", "", "", false
	}
	query, fragment = u.RawQuery, u.Fragment
	u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = "", false, "", ""
	return u.String(), query, fragment, true
}

func clean(subdir string) string { return strings.TrimPrefix(path.Join("/", subdir), "/") }

// checkRemote refuses what git or ssh could take for an option, CVE-2017-1000117.
func checkRemote(remote string) error {
	if strings.ContainsFunc(remote, func(r rune) bool { return unicode.IsControl(r) || r == ' ' }) {
		return errors.New("a space or control character is in it")
	}
	if m := scpStyle.FindStringSubmatch(remote); m != nil {
		if m[3] == "" || strings.HasPrefix(m[3], "-") {
			return fmt.Errorf("the path %q is none of a repository", m[3])
		}
		return nil
	}
	u, err := url.Parse(remote)
	if err != nil {
		return errors.New("it is no address")
	}
	switch {
	case u.Scheme == "file" && u.Host != "":
		return errors.New("a file address has three slashes, as in file:///srv/app.git")
	case u.Scheme != "file" && (u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-")):
		return fmt.Errorf("the host %q is none", u.Hostname())
	case u.User != nil && strings.HasPrefix(u.User.Username(), "-"):
		return fmt.Errorf("the user %q is none", u.User.Username())
	case strings.Trim(u.Path, "/") == "" || strings.HasPrefix(u.Path, "/-"):
		return fmt.Errorf("the path %q is none of a repository", u.Path)
	}
	return nil
}

// query reads the form with a query.
func (r *Repository) query(values url.Values) error {
	var tag, branch string
	for key, given := range values {
		if len(given) > 1 {
			return fmt.Errorf("query %q has several values", key)
		}
		v := given[0]
		var err error
		switch key {
		case "ref":
			err = same("ref", &r.Ref, v)
		case "tag":
			tag = v
		case "branch":
			branch = v
		case "subdir":
			err = same("subdir", &r.Subdir, clean(v))
		case "checksum", "commit":
			err = same("commit", &r.Commit, strings.ToLower(v))
		case "keep-git-dir":
			r.KeepGitDir, err = boolean(v)
		case "submodules":
			r.Submodules, err = boolean(v)
		case "fetch-by-commit":
			var on *bool
			if on, err = boolean(v); err == nil && *on {
				r.Fetch = FetchCommit
			}
			v = "true"
		case "mtime":
			r.ModTime = ModTime(v)
			if r.ModTime != ModTimeCheckout && r.ModTime != ModTimeCommit {
				err = fmt.Errorf(`%q is neither "checkout" nor "commit"`, v)
			}
		default:
			return fmt.Errorf("unknown query %q: of a git repository it can be ref, tag, branch, commit, subdir, keep-git-dir, submodules, fetch-by-commit and mtime", key)
		}
		if err == nil && v == "" && key != "keep-git-dir" && key != "submodules" {
			err = errors.New("it has no value")
		}
		if err != nil {
			return fmt.Errorf("query %q: %w", key, err)
		}
	}
	return r.tagOrBranch(tag, branch)
}

// tagOrBranch makes a full ref of a tag or branch.
func (r *Repository) tagOrBranch(tag, branch string) error {
	if tag != "" && branch != "" {
		return fmt.Errorf("the tag %q and the branch %q are both named", tag, branch)
	}
	name, prefix := tag, "refs/tags/"
	if branch != "" {
		name, prefix = branch, "refs/heads/"
	}
	if name == "" {
		return nil
	}
	return same("ref", &r.Ref, prefix+strings.TrimPrefix(name, prefix))
}

// same sets what may have been set to the same before.
func same(what string, to *string, v string) error {
	if *to != "" && *to != v {
		return fmt.Errorf("the %ss %q and %q are both named", what, *to, v)
	}
	*to = v
	return nil
}

func boolean(v string) (*bool, error) {
	b := true
	if v != "" {
		var err error
		if b, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", v)
		}
	}
	return &b, nil
}

// Pin demands a commit by the start of its name.
func (r *Repository) Pin(commit string) error {
	r.Commit = commit
	return r.check()
}

// check makes sure that ref and commit are such.
func (r *Repository) check() error {
	if err := CheckRef(r.Ref); err != nil {
		return err
	}
	if r.Commit != "" && !hex.MatchString(r.Commit) {
		return fmt.Errorf("%q is no commit: want hexadecimal digits", r.Commit)
	}
	if r.Fetch == FetchCommit && !IsCommit(r.Commit) && !IsCommit(r.Ref) {
		return errors.New("fetch-by-commit needs the commit by its full name")
	}
	if IsCommit(r.Ref) && !strings.HasPrefix(strings.ToLower(r.Ref), r.Commit) {
		return fmt.Errorf("the commits %q and %q are both named", r.Ref, r.Commit)
	}
	return nil
}

// CheckRef refuses what can be no ref, git-check-ref-format(1), and so what could be an option, CVE-2019-13139.
func CheckRef(ref string) error {
	bad := strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "/") || strings.HasSuffix(ref, "/") || strings.HasSuffix(ref, ".") ||
		strings.HasSuffix(ref, ".lock") || strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.Contains(ref, "@{") ||
		strings.ContainsAny(ref, " ~^:?*[\\\x7f") || strings.ContainsFunc(ref, unicode.IsControl)
	if bad {
		return fmt.Errorf("%q is no ref", ref)
	}
	return nil
}

var userInfo = regexp.MustCompile(`([a-zA-Z0-9]+://)([^/\s'"]*)@`)

// Redact hides users and passwords in addresses within a text. The user of SSH is no secret.
func Redact(text string) string { return hide(text, func(string) string { return "xxxxx" }) }

// Mask hides what Redact does, a character for a character.
func Mask(text string) string {
	return hide(text, func(user string) string { return strings.Repeat("x", utf8.RuneCountInString(user)) })
}

func hide(text string, cover func(user string) string) string {
	return userInfo.ReplaceAllStringFunc(text, func(found string) string {
		m := userInfo.FindStringSubmatch(found)
		if m[1] == "ssh://" && !strings.Contains(m[2], ":") {
			return found
		}
		return m[1] + cover(m[2]) + "@"
	})
}
