package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxManifest caps a manifest or index; registries do not take larger ones.
const maxManifest = 4 << 20

// Docker's media types of manifests. Those of OCI are in [ocispec].
const (
	mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaTypeDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeSchema1        = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeSchema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// manifestTypes are the media types of manifests and indexes that are understood.
var manifestTypes = []string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, mediaTypeDockerIndex, mediaTypeDockerManifest,
}

// Resolve returns the descriptor of what a reference names, as the registry tells it, without pulling it. Only what
// [Client.Manifest] returns is verified.
func (c *Client) Resolve(ctx context.Context, ref Reference) (ocispec.Descriptor, error) {
	return pull(ctx, c, ref.Repository, func(src source) (ocispec.Descriptor, error) {
		return src.resolve(ctx, ref)
	})
}

// Manifest pulls a manifest or an index, at most 4 MiB, verified against its digest. An image in the format that
// preceded both ("schema 1") is refused.
func (c *Client) Manifest(ctx context.Context, ref Reference) (ocispec.Descriptor, []byte, error) {
	m, err := pull(ctx, c, ref.Repository, func(src source) (manifest, error) {
		return src.manifest(ctx, ref)
	})
	return m.descriptor, m.raw, err
}

type manifest struct {
	descriptor ocispec.Descriptor
	raw        []byte
}

func (s source) manifestRequest(method string, ref Reference) (task, *request) {
	at := Reference{Repository: s.repository, Tag: ref.Tag, Digest: ref.Digest}
	t := task{op: "pull manifest", ref: at.String()}
	if !s.last {
		t.tries = 1 // the next source is the second try
	}
	return t, &request{
		method: method, url: s.url(s.repository, "manifests/"+ref.identifier()),
		header: http.Header{"Accept": {strings.Join(manifestTypes, ", ")}},
		access: access{repository: s.repository.Path},
	}
}

// resolve asks with HEAD, which does not count as a pull where pulls are limited. A registry that refuses it, or leaves
// something out of the answer, is asked with GET.
func (s source) resolve(ctx context.Context, ref Reference) (ocispec.Descriptor, error) {
	t, r := s.manifestRequest(http.MethodHead, ref)
	t.op = "resolve"
	resp, err := s.call(ctx, t, r, http.StatusOK)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); !ok || e.Status == 0 || passingStatus(e.Status) {
			return ocispec.Descriptor{}, err
		}
	} else {
		drain(resp.Body)
		described, ok := describeHead(resp)
		if ok && (ref.Digest == "" || ref.Digest == described.Digest.String()) {
			return described, nil
		}
	}
	m, err := s.manifest(ctx, ref)
	return m.descriptor, err
}

func describeHead(resp *http.Response) (ocispec.Descriptor, bool) {
	hash, err := digest.Parse(resp.Header.Get("Docker-Content-Digest"))
	if err != nil || resp.ContentLength <= 0 || resp.ContentLength > maxManifest {
		return ocispec.Descriptor{}, false
	}
	mediaType := contentType(resp)
	for _, known := range manifestTypes {
		if mediaType == known {
			return ocispec.Descriptor{MediaType: mediaType, Size: resp.ContentLength, Digest: hash}, true
		}
	}
	return ocispec.Descriptor{}, false
}

func contentType(resp *http.Response) string {
	mediaType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

func (s source) manifest(ctx context.Context, ref Reference) (manifest, error) {
	t, r := s.manifestRequest(http.MethodGet, ref)
	tries := attempts{host: s.host, most: s.retry.Attempts}
	if t.tries > 0 {
		tries.most = t.tries
	}
	for {
		resp, err := s.once(ctx, t, r, http.StatusOK)
		var raw []byte
		if err == nil {
			raw, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
			resp.Body.Close()
			if err != nil {
				err = s.wrap(ctx, t, r, err)
			}
		}
		if err == nil {
			described, err := checkManifest(ref, resp, raw)
			if err != nil {
				return manifest{}, &Error{Op: t.op, Ref: t.ref, Err: err, Hint: hintOf(err)}
			}
			return manifest{descriptor: described, raw: raw}, nil
		}
		if err := tries.again(ctx, err); err != nil {
			return manifest{}, err
		}
	}
}

// checkManifest verifies a manifest against its digest, and that it is of one kind only.
func checkManifest(ref Reference, resp *http.Response, raw []byte) (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	if len(raw) > maxManifest {
		return none, fmt.Errorf("the manifest is larger than %d MiB", maxManifest>>20)
	}
	want := ref.Digest
	if want == "" {
		want = resp.Header.Get("Docker-Content-Digest")
	}
	algorithm := digest.SHA256
	if want != "" {
		if err := digest.Digest(want).Validate(); err != nil {
			return none, fmt.Errorf("check digest %q: %w", tidy(want, 100), err)
		}
		algorithm = digest.Digest(want).Algorithm()
	}
	got := algorithm.FromBytes(raw).String()
	if want != "" && got != want {
		return none, fmt.Errorf("its digest is %s, not %s: %w", got, want, errWrongContent)
	}
	mediaType, err := manifestType(contentType(resp), raw)
	if err != nil {
		return none, err
	}
	hash, err := digest.Parse(got)
	if err != nil {
		return none, err
	}
	return ocispec.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: hash}, nil
}

var (
	errWrongContent = errors.New("the registry's content is not what it should be")
	errSchema1      = errors.New("the image is in the schema 1 format, which is no longer in use")
)

func hintOf(err error) string {
	if errors.Is(err, errSchema1) {
		return "pull the image and push it again with a current tool, or choose a newer tag"
	}
	return ""
}

// manifestType returns the media type on which header and content agree. A manifest that is both a manifest and an
// index is refused, for others could read the other one in it (CVE-2021-41190).
func manifestType(header string, raw []byte) (string, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", fmt.Errorf("the manifest is not valid JSON: %w", err)
	}
	if doc.SchemaVersion == 1 || header == mediaTypeSchema1 || header == mediaTypeSchema1Signed {
		return "", errSchema1
	}
	isIndex, isImage := doc.Manifests != nil, doc.Config != nil || doc.Layers != nil
	if isIndex == isImage {
		return "", errors.New("the manifest is neither that of an image nor an index, or both")
	}
	found := doc.MediaType
	if found == "" { // optional in OCI's formats
		found = ocispec.MediaTypeImageManifest
		if isIndex {
			found = ocispec.MediaTypeImageIndex
		}
		if isImageType(header) || isIndexType(header) {
			found = header
		}
	}
	if (isImageType(header) || isIndexType(header)) && header != found {
		return "", fmt.Errorf("the manifest calls itself %s, and the registry calls it %s", tidy(found, 100), header)
	}
	if isIndex && !isIndexType(found) || isImage && !isImageType(found) {
		return "", fmt.Errorf("the manifest's content does not fit its media type %q", tidy(found, 100))
	}
	return found, nil
}

func isImageType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == mediaTypeDockerManifest
}

func isIndexType(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == mediaTypeDockerIndex
}

// PutManifest stores a manifest or an index under a reference. What it refers to must be there already.
func (c *Client) PutManifest(ctx context.Context, ref Reference, mediaType string, raw []byte) error {
	_, err := c.putManifest(ctx, ref, mediaType, raw)
	return err
}

// putManifest returns the header of the registry's answer.
func (c *Client) putManifest(ctx context.Context, ref Reference, mediaType string, raw []byte) (http.Header, error) {
	h, err := c.host(ref.Registry)
	if err != nil {
		return nil, err
	}
	resp, err := h.call(ctx, task{op: "push manifest", ref: ref.String()}, &request{
		method: http.MethodPut, url: h.url(ref.Repository, "manifests/"+ref.identifier()),
		header: http.Header{"Content-Type": {mediaType}},
		open:   func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
		length: int64(len(raw)),
		access: access{repository: ref.Path, push: pushing},
		answer: h.timeouts.Commit,
	}, http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	if err != nil {
		return nil, err
	}
	drain(resp.Body)
	stored := resp.Header.Get("Docker-Content-Digest")
	if stored == "" || digest.Digest(stored).Validate() != nil {
		return resp.Header, nil
	}
	if got := digest.Digest(stored).Algorithm().FromBytes(raw).String(); got != stored {
		return nil, &Error{Op: "push manifest", Ref: ref.String(), Err: fmt.Errorf("the registry stored %s instead of %s: %w", stored, got, errWrongContent)}
	}
	return resp.Header, nil
}
