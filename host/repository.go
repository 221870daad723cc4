package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/trowel-build/trowel/host/config"
	"github.com/trowel-build/trowel/host/internal/registry"
	"github.com/trowel-build/trowel/sdk"
)

// RepositoryAccess says which repository is wanted, and how registries are reached: see [Request].
type RepositoryAccess struct {
	Name             string // such as "registry.example.com/app/cache"
	Registries       map[string]config.Registry
	DefaultRegistry  config.Registry
	RegistryAttempts int
	Proxy            config.Proxy
	Credentials      []sdk.CredentialProvider
	UserAgent        string
}

// Repository is a repository of a registry, for a cache backend that keeps what it has there. What is not there is an error
// that wraps [sdk.ErrNotFound]. Its methods may be called from several goroutines at once.
type Repository struct {
	client     *registry.Client
	repository registry.Repository
}

// OpenRepository makes a repository ready and connects to nothing. It must be closed.
func OpenRepository(a RepositoryAccess) (*Repository, error) {
	at, err := registry.ParseRepository(a.Name)
	if err != nil {
		return nil, err
	}
	client, err := registry.New(registry.Options{
		Registries: a.Registries, Default: a.DefaultRegistry, Credentials: a.Credentials, UserAgent: a.UserAgent, Proxy: a.Proxy.Func(),
		Retry: registry.Retry{Attempts: a.RegistryAttempts},
	})
	if err != nil {
		return nil, err
	}
	return &Repository{client: client, repository: at}, nil
}

// Close drops idle connections.
func (r *Repository) Close() error {
	r.client.Close()
	return nil
}

func missing(err error) error {
	if errors.Is(err, registry.ErrNotFound) {
		return fmt.Errorf("%w: %w", sdk.ErrNotFound, err)
	}
	return err
}

// Manifest returns what a tag names.
func (r *Repository) Manifest(ctx context.Context, tag string) ([]byte, error) {
	_, raw, err := r.client.Manifest(ctx, r.repository.Tagged(tag))
	return raw, missing(err)
}

// PutManifest stores a manifest under a tag.
func (r *Repository) PutManifest(ctx context.Context, tag, mediaType string, manifest []byte) error {
	return r.client.PutManifest(ctx, r.repository.Tagged(tag), mediaType, manifest)
}

// StatBlob returns the length of a blob.
func (r *Repository) StatBlob(ctx context.Context, blob sdk.Digest) (int64, error) {
	size, held, err := r.client.Stat(ctx, r.repository, string(blob))
	if err == nil && !held {
		err = sdk.ErrNotFound
	}
	return size, err
}

// OpenBlob opens a blob, verified while it is read.
func (r *Repository) OpenBlob(ctx context.Context, blob sdk.Blob) (io.ReadCloser, error) {
	in, err := r.client.Blob(ctx, r.repository, ocispec.Descriptor{Digest: digest.Digest(blob.Digest), Size: blob.Size})
	return in, missing(err)
}

// PushBlob makes the repository have a blob.
func (r *Repository) PushBlob(ctx context.Context, blob sdk.Blob, content sdk.Content) error {
	_, err := r.client.Push(ctx, r.repository, contentBlob{blob, content}, nil, nil)
	return err
}

// contentBlob is a blob of a cache as something to push.
type contentBlob struct {
	blob    sdk.Blob
	content sdk.Content
}

// Open opens it at an offset.
func (b contentBlob) Open(ctx context.Context, offset int64) (_ io.ReadCloser, err error) {
	if b.content.File != "" {
		f, err := os.Open(b.content.File)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	in, err := b.content.Open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, in, offset); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return &exact{ReadCloser: in, left: b.blob.Size - offset}, nil
}

// exact reads as many bytes as there should be, and fails rather than give the last one if there are more.
type exact struct {
	io.ReadCloser
	left int64
}

// Read implements [io.Reader].
func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.ReadCloser.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	switch {
	case e.left == 0:
		if more, _ := io.ReadFull(e.ReadCloser, make([]byte, 1)); more > 0 {
			return 0, errors.New("the content is longer than the blob")
		}
		return n, nil
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("the content ends %d bytes before the blob does", e.left)
	}
	return n, err
}

// Descriptor is known.
func (b contentBlob) Descriptor(context.Context) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{MediaType: "application/octet-stream", Digest: digest.Digest(b.blob.Digest), Size: b.blob.Size}, nil
}

// Written says that all is there.
func (b contentBlob) Written() (int64, registry.State) { return b.blob.Size, registry.Complete }
