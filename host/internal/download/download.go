// Package download fetches files over HTTP: what ADD names, build contexts and Dockerfiles. A file that the server says
// is unchanged is not fetched again; what a file is to a cache is its content, never its address.
package download

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/kept"
	"github.com/trowel-build/trowel/host/internal/progress"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/host/internal/secret"
	"github.com/trowel-build/trowel/sdk"
)

// Client fetches files. All fields but Secrets are required.
type Client struct {
	Web      *registry.Client
	Copies   kept.Copies
	Secrets  *secret.Store
	Progress progress.Reporter
}

// Download is a file elsewhere of which it is known what it holds. It is for one goroutine.
type Download struct {
	client  *Client
	address *url.URL
	state   state
	file    *kept.File // nil until it was fetched or found
}

// state is what is kept of a file elsewhere.
type state struct {
	Digest digest.Digest `json:"digest"`
	ETag   string        `json:"etag,omitempty"`
	// LastModified is the server's text; empty if it gave none.
	LastModified string `json:"lastModified,omitempty"`
}

// unnamed is what BuildKit calls a file whose address has no last element.
const unnamed = "__unnamed__"

// Name is what ADD calls the file at an address: the last element of its path.
func Name(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return unnamed, nil //nolint:nilerr // that it is no address is told by who fetches it
	}
	name := path.Base(u.Path)
	switch {
	case name == "." || name == "/":
		return unnamed, nil
	case name == ".." || strings.ContainsFunc(name, unicode.IsControl):
		return "", fmt.Errorf("its last element, %q, is no name of a file", name)
	}
	return name, nil
}

// Resolve finds out what the file at an address is. If it has to have a digest, want, nobody is asked. A file of which
// there is a copy is fetched only if the server says that it changed.
func (c *Client) Resolve(ctx context.Context, address string, want digest.Digest) (*Download, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no HTTP address", Shown(address))
	}
	d := &Download{client: c, address: u}
	known := c.Copies.Look(ctx, d.key(), &d.state) && d.state.Digest.Validate() == nil
	if want != "" {
		if !known || d.state.Digest != want {
			d.state = state{Digest: want}
		}
		return d, nil
	}
	if known && d.unchanged(ctx) {
		return d, nil
	}
	d.state = state{}
	return d, d.fetch(ctx)
}

// Shown is an address as messages show it, without what may be secret in it.
func Shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "…"
	}
	return registry.ShownURL(u)
}

// Identity stands for the file's content.
func (d *Download) Identity() string { return "file " + d.state.Digest.String() }

// ModTime is when the file was changed last, if the server said so.
func (d *Download) ModTime() (time.Time, bool) {
	at, err := http.ParseTime(d.state.LastModified)
	return at, err == nil
}

// Tree is a tree with nothing but the file in it, under a name. Its mode is 0600, and its time the server's or 0, as with
// BuildKit. It is fetched now if it has to be.
func (d *Download) Tree(ctx context.Context, name string) (*filetree.Tree, error) {
	f, err := d.content(ctx)
	if err != nil {
		return nil, err
	}
	e, err := f.Entry(ctx, name)
	if err != nil {
		return nil, err
	}
	if at, ok := d.ModTime(); ok {
		e.ModTime = at.UnixNano()
	}
	return f.Tree(e)
}

// content is the file's copy.
func (d *Download) content(ctx context.Context) (*kept.File, error) {
	if d.file != nil {
		return d.file, nil
	}
	// A copy that came from elsewhere has another time.
	var seen state
	if d.client.Copies.Look(ctx, d.key(), &seen) && seen.Digest == d.state.Digest {
		if f, ok := d.client.Copies.Find(ctx, d.state.Digest); ok {
			d.file = f
			return f, nil
		}
	}
	if err := d.fetch(ctx); err != nil {
		return nil, err
	}
	return d.file, nil
}

// key is that of the record about an address. The address is not in it: it may hold a secret.
func (d *Download) key() sdk.Key {
	u := *d.address
	u.Fragment, u.RawFragment = "", ""
	return sdk.Key("download/" + digest.FromString(u.String()).Encoded())
}

// unchanged asks the server whether the file is still what it was. Some servers know the tags of files and yet do not honour
// conditions, so their answer's own tag is compared as well.
func (d *Download) unchanged(ctx context.Context) bool {
	if d.state.ETag == "" && d.state.LastModified == "" {
		return false
	}
	header := http.Header{}
	if d.state.ETag != "" {
		header.Set("If-None-Match", d.state.ETag)
	} else {
		header.Set("If-Modified-Since", d.state.LastModified)
	}
	resp, err := d.send(ctx, http.MethodHead, header)
	if err != nil {
		return false // the request for the file itself will tell
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return true
	}
	tag := resp.Header.Get("ETag")
	return tag != "" && opaque(tag) == opaque(d.state.ETag)
}

// opaque is an entity tag without the mark of a weak one.
func opaque(tag string) string { return strings.TrimPrefix(tag, "W/") }

func (d *Download) send(ctx context.Context, method string, header http.Header) (*http.Response, error) {
	authorization, err := d.authorization(ctx)
	if err != nil {
		return nil, err
	}
	return d.client.Web.Web(ctx, registry.WebRequest{Method: method, URL: d.address, Header: header, Authorization: authorization})
}

// authorization is the secret for the address's host, if the build was given one.
func (d *Download) authorization(ctx context.Context) (string, error) {
	for _, s := range []struct{ id, scheme string }{{"HTTP_AUTH_TOKEN_", "Bearer "}, {"HTTP_AUTH_HEADER_", ""}} {
		value, err := d.client.Secrets.Get(ctx, s.id+d.address.Hostname())
		if errors.Is(err, secret.ErrNotFound) {
			continue
		}
		if err != nil {
			return "", err
		}
		return s.scheme + strings.TrimSpace(string(value)), nil
	}
	return "", nil
}
