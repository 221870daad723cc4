package host

import "github.com/trowel-build/trowel/host/internal/registry"

// Name is an image's name taken apart.
type Name struct {
	Registry string // host, with its port where that is not the default one; Docker Hub is "docker.io"
	Path     string // in the registry, such as "library/debian"
	Tag      string // empty if a digest alone names the image
}

// ParseName reads an image's name as users write it: "debian" is docker.io/library/debian:latest.
func ParseName(name string) (Name, error) {
	ref, err := registry.ParseReference(name)
	if err != nil {
		return Name{}, err
	}
	return Name{Registry: ref.Registry, Path: ref.Path, Tag: ref.Tag}, nil
}

// PrivateRegistry says whether a registry is named by a private address, or as a service of the Kubernetes cluster.
func PrivateRegistry(name string) bool { return registry.IsPrivate(name) }

// Repository is the name without the tag.
func (n Name) Repository() string { return n.Registry + "/" + n.Path }
