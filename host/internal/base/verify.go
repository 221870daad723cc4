package base

import (
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// verifier checks size and digest of what is read through it.
type verifier struct {
	io.ReadCloser
	desc  ocispec.Descriptor
	check digest.Verifier
	left  int64
}

func newVerifier(r io.ReadCloser, desc ocispec.Descriptor) (*verifier, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", desc.Digest, err)
	}
	return &verifier{ReadCloser: r, desc: desc, check: desc.Digest.Verifier(), left: desc.Size}, nil
}

// Read is [io.Reader]'s.
func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.check.Write(p[:n]) //nolint:errcheck // a hash never fails
	v.left -= int64(n)
	switch {
	case v.left < 0, errors.Is(err, io.EOF) && v.left > 0:
		return n, fmt.Errorf("blob %s has another size than the %d bytes its descriptor says", v.desc.Digest, v.desc.Size)
	case errors.Is(err, io.EOF) && !v.check.Verified():
		return n, fmt.Errorf("blob %s has another digest", v.desc.Digest)
	}
	return n, err
}
