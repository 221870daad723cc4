package registry

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/distribution/reference"
)

// dockerHub is the name of Docker Hub's registry in references, settings and credential requests.
const dockerHub = "docker.io"

// Repository is a repository in a registry. It is comparable, so it can be a map's key.
type Repository struct {
	Registry string // host, with its port where that is not the default one; Docker Hub is "docker.io"
	Path     string // path in the registry, such as "library/debian"
}

// String returns the full name, such as "docker.io/library/debian".
func (r Repository) String() string { return r.Registry + "/" + r.Path }

// Tagged returns the reference to a tag of r.
func (r Repository) Tagged(tag string) Reference { return Reference{Repository: r, Tag: tag} }

// Digested returns the reference to what has the digest in r.
func (r Repository) Digested(digest string) Reference {
	return Reference{Repository: r, Digest: digest}
}

// Reference names a manifest in a repository by its tag, its digest, or both; then the digest decides.
type Reference struct {
	Repository
	Tag    string
	Digest string // such as "sha256:2cf2…"
}

// String returns the full reference, such as "docker.io/library/debian:12".
func (r Reference) String() string {
	s := r.Repository.String()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// identifier is what stands for the reference in a request.
func (r Reference) identifier() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// ParseReference reads a reference as users write it: "debian" is docker.io/library/debian:latest.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, fmt.Errorf("parse image reference %q: %w", s, err)
	}
	ref := Reference{Repository: repositoryOf(named)}
	if tagged, ok := named.(reference.Tagged); ok {
		ref.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		ref.Digest = digested.Digest().String()
	}
	if ref.Tag == "" && ref.Digest == "" {
		ref.Tag = "latest"
	}
	return ref, nil
}

// ParseRepository reads the name of a repository as users write it: "debian" is docker.io/library/debian.
func ParseRepository(s string) (Repository, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Repository{}, fmt.Errorf("parse repository %q: %w", s, err)
	}
	if !reference.IsNameOnly(named) {
		return Repository{}, fmt.Errorf("parse repository %q: a tag or digest is out of place here", s)
	}
	return repositoryOf(named), nil
}

func repositoryOf(named reference.Named) Repository {
	return Repository{Registry: canonicalRegistry(reference.Domain(named)), Path: reference.Path(named)}
}

// canonicalRegistry maps the other names of Docker Hub to the one used here.
func canonicalRegistry(name string) string {
	switch name {
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return name
}

// apiHost is the host that serves a registry's API.
func apiHost(registry string) string {
	if registry == dockerHub {
		return "registry-1.docker.io"
	}
	return registry
}

// IsPrivate says whether a registry, with or without a port, is named by a private address of IPv4 (RFC 1918) or as a service of
// the Kubernetes cluster.
func IsPrivate(registry string) bool {
	host, _, _ := strings.Cut(registry, ":")
	// Other names below "local" are anybody's who answers in the local network (RFC 6762); these are the cluster's DNS server's.
	if strings.HasSuffix(host, ".svc.cluster.local") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is4() && addr.IsPrivate()
}

// isLoopback says whether a registry, with or without a port, is on this machine.
func isLoopback(registry string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
