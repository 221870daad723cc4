package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/trowel-build/trowel/host"
)

// kanikoContext is what --context and its kin come to.
type kanikoContext struct {
	at         string // as [host.Request] has it
	dir        string // of an archive
	dockerfile string
	// secrets say who asks for a repository.
	secrets map[string]host.Secret
	// unverified is the host of a repository whose certificate is not to be looked at.
	unverified string
	said       []remark
}

// How kaniko names contexts.
const (
	schemeDirectory = "dir://"
	schemeArchive   = "tar://"
	schemeGit       = "git://"
	standardArchive = "tar://stdin"
)

// readContext reads --context, --context-sub-path, --git and --dockerfile.
func (o *executorFlags) readContext(environment map[string]string) (kanikoContext, error) {
	if o.bucket != "" {
		return kanikoContext{}, noBucket("--bucket " + o.bucket)
	}
	scheme, rest, named := strings.Cut(o.context, "://")
	scheme += "://"
	switch {
	case o.context == "":
		return kanikoContext{}, usageError{errors.New("--context is empty: name a directory or an archive")}
	case !named:
		c := kanikoContext{at: o.context}
		if o.subPath != "" {
			c.said = append(c.said, warn("--context-sub-path is for contexts that are named with ://, as with kaniko: write --context dir://%s", o.context))
		}
		return o.withDockerfile(c, inDirectory), nil
	case scheme == schemeDirectory:
		return o.withDockerfile(kanikoContext{at: filepath.Join(rest, filepath.Clean("/"+o.subPath))}, inDirectory), nil
	case o.context == standardArchive:
		return o.withDockerfile(kanikoContext{at: "-", dir: o.subPath}, inArchive), nil
	case scheme == schemeArchive:
		return o.withDockerfile(kanikoContext{at: rest, dir: o.subPath}, inArchive), nil
	case scheme == schemeGit:
		c, err := o.gitContext(rest, environment)
		return o.withDockerfile(c, inArchive), err
	case scheme == "http://" || scheme == "https://":
		if azureBlob.MatchString(o.context) && !strings.Contains(o.context, "sig=") {
			return kanikoContext{}, noBucket(o.context)
		}
		return o.withDockerfile(kanikoContext{at: o.context, dir: o.subPath}, inArchive), nil
	case scheme == "gs://" || scheme == "s3://":
		return kanikoContext{}, noBucket(o.context)
	}
	return kanikoContext{}, usageError{fmt.Errorf("--context %q: unknown scheme: there are dir://, tar://, git:// and https://", o.context)}
}

var azureBlob = regexp.MustCompile(`^https://[^/]+\.blob\.core\.(windows\.net|chinacloudapi\.cn|cloudapi\.de|usgovcloudapi\.net)/`)

// noBucket refuses a context in a bucket.
func noBucket(what string) error {
	fetch := "a pre-signed https address does, and so does an archive on standard input: DOWNLOAD | executor --context tar://stdin"
	switch {
	case strings.Contains(what, "s3://"):
		fetch = "fetch it first: aws s3 cp s3://BUCKET/context.tar.gz - | executor --context tar://stdin …; a pre-signed https address does as well"
	case strings.Contains(what, "blob.core"):
		fetch = "an address with a shared access signature (?sv=…&sig=…) does"
	case strings.Contains(what, "gs://"), strings.HasPrefix(what, "--bucket"):
		fetch = "fetch it first: gcloud storage cat gs://BUCKET/context.tar.gz | executor --context tar://stdin …; a signed https address does as well"
	}
	return usageError{hinted{fmt.Errorf("build context %s: contexts in buckets are not there yet", what), fetch}}
}

// inside says where a Dockerfile is found that is no file of this machine.
type inside string

// The places.
const (
	inDirectory inside = "directory"
	inArchive   inside = "archive"
)

// withDockerfile finds the Dockerfile as kaniko does: a file relative to where it runs comes before one in the context.
func (o *executorFlags) withDockerfile(c kanikoContext, place inside) kanikoContext {
	c.dockerfile = o.dockerfile
	if strings.HasPrefix(o.dockerfile, "http://") || strings.HasPrefix(o.dockerfile, "https://") {
		return c
	}
	if info, err := os.Stat(o.dockerfile); err == nil && !info.IsDir() {
		if absolute, err := filepath.Abs(o.dockerfile); err == nil {
			c.dockerfile = absolute
		}
		return c
	}
	if place == inDirectory && !filepath.IsAbs(o.dockerfile) {
		c.dockerfile = filepath.Join(c.at, o.dockerfile)
	}
	return c
}

var commitID = regexp.MustCompile(`^[0-9a-fA-F]{40}$`)

// gitContext reads a repository: HOST/PATH[#REF][#COMMIT].
func (o *executorFlags) gitContext(rest string, environment map[string]string) (kanikoContext, error) {
	parts := strings.Split(rest, "#")
	if len(parts) > 3 {
		return kanikoContext{}, usageError{fmt.Errorf("--context %s%s: want HOST/REPOSITORY[#REF][#COMMIT]", schemeGit, redactUser(rest))}
	}
	method := "https"
	if environment["GIT_PULL_METHOD"] == "http" {
		method = "http"
	}
	u, err := url.Parse(method + "://" + parts[0])
	if err != nil || u.Host == "" {
		return kanikoContext{}, usageError{fmt.Errorf("--context %s%s: it names no repository", schemeGit, redactUser(rest))}
	}
	ref := o.git.branch
	if ref == "" && len(parts) > 1 {
		ref = parts[1]
	}
	if len(parts) > 2 && parts[2] != "" {
		if !commitID.MatchString(parts[2]) {
			return kanikoContext{}, usageError{fmt.Errorf("--context: the commit %q is to be named by all of its 40 digits", parts[2])}
		}
		ref = parts[2]
	}
	c := kanikoContext{secrets: map[string]host.Secret{}}
	if o.git.insecureSkipTLS {
		c.unverified = u.Host
	}
	if u.User == nil {
		o.identify(u, environment, c.secrets)
	}
	query := url.Values{"submodules": {fmt.Sprint(o.git.submodules)}}
	for key, value := range map[string]string{"ref": ref, "subdir": o.subPath} {
		if value != "" {
			query.Set(key, value)
		}
	}
	u.RawQuery = query.Encode()
	c.at = "git+" + u.String()
	return c, nil
}

// identify says who asks for a repository, by kaniko's variables. What stands in the address is for that repository alone;
// submodules need a secret, which a RUN of the build may be shown as well.
func (o *executorFlags) identify(u *url.URL, environment map[string]string, secrets map[string]host.Secret) {
	user, password := environment["GIT_USERNAME"], environment["GIT_PASSWORD"]
	if token := environment["GIT_TOKEN"]; token != "" {
		user, password = "x-access-token", token // as GitHub and GitLab both take it
	}
	switch {
	case user == "" && password == "":
	case o.git.submodules:
		secrets["GIT_AUTH_HEADER"] = host.Secret{Value: []byte("Basic " + basicAuth(user, password))}
	default:
		u.User = url.UserPassword(user, password)
	}
}

// redactUser leaves out what stands before an @ in a repository's address.
func redactUser(address string) string {
	if _, after, ok := strings.Cut(address, "@"); ok {
		return "…@" + after
	}
	return address
}
