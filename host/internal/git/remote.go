package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/trowel-build/trowel/host/internal/gitref"
)

// remote is where a repository is.
type remote struct {
	protocol string        // "https", "http", "ssh", "git" or "file"
	host     string        // with its port
	path     string        // of the repository
	user     *url.Userinfo // of the address, where it says who we are
	address  string        // as git gets it: without a password, which others could see
}

var scp = regexp.MustCompile(`^[^/@:]+@([^/:]+):(.*)$`)

// newRemote reads an address that gitref approved of.
func newRemote(address string) (remote, error) {
	if m := scp.FindStringSubmatch(address); m != nil && !strings.Contains(address, "://") {
		return remote{protocol: "ssh", host: m[1], path: m[2], address: address}, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return remote{}, errors.New("it is no address")
	}
	r := remote{protocol: u.Scheme, host: strings.ToLower(u.Host), path: u.Path}
	if r.web() {
		r.user, u.User = u.User, nil
	}
	r.address = u.String()
	return r, nil
}

// web says whether the remote is reached over HTTP.
func (r remote) web() bool { return r.protocol == "http" || r.protocol == "https" }

// String is the remote as messages show it.
func (r remote) String() string { return gitref.Redact(r.address) }

// place is a ref and what it leads to.
type place struct {
	ref    string
	object string // what it names: a commit, or the tag that does
	commit string
}

// list finds the first of the refs that the remote has.
func (c *Client) list(ctx context.Context, at remote, refs []string) (place, error) {
	var names []string
	for _, ref := range refs {
		if gitref.IsCommit(ref) {
			continue
		}
		if ref == "" {
			ref = "HEAD"
		}
		names = append(names, ref, ref+"^{}")
	}
	var text string
	err := c.talk(ctx, at, nil, func(at remote, auth authorization) (err error) {
		args := append([]string{"ls-remote", "--quiet", "--symref", "--", at.address}, names...)
		text, err = c.text(ctx, run{args: args, remote: &at, auth: auth})
		return err
	})
	if err != nil {
		return place{}, err
	}
	there := map[string]string{}
	head := ""
	for line := range strings.Lines(text) {
		value, name, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if target, symbolic := strings.CutPrefix(value, "ref: "); symbolic {
			if name == "HEAD" {
				head = target
			}
			continue
		}
		if ok && gitref.IsCommit(value) {
			there[name] = value
		}
	}
	for _, ref := range refs {
		if gitref.IsCommit(ref) { // which a remote does not list; the fetch will tell
			return place{"", ref, strings.ToLower(ref)}, nil
		}
		if p, ok := pick(there, ref, head); ok {
			// It is the remote that chose this one.
			if err := gitref.CheckRef(p.ref); err != nil {
				return place{}, err
			}
			return p, nil
		}
	}
	if refs[len(refs)-1] == "" {
		return place{}, errors.New("it has no commit")
	}
	return place{}, fmt.Errorf("it has no branch or tag %q", refs[len(refs)-1])
}

// pick finds a ref among those that are there: under its full name, as a branch, as a tag.
func pick(there map[string]string, ref, head string) (place, bool) {
	if ref == "" {
		id, ok := there["HEAD"]
		if head == "" {
			head = "HEAD"
		}
		return place{head, id, id}, ok
	}
	for _, name := range []string{"refs/" + strings.TrimPrefix(ref, "refs/"), "refs/heads/" + ref, "refs/tags/" + ref} {
		if id, ok := there[name]; ok {
			p := place{name, id, id}
			if peeled, ok := there[name+"^{}"]; ok {
				p.commit = peeled
			}
			return p, true
		}
	}
	return place{}, false
}
