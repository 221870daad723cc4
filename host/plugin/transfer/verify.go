package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

// unknownSize stands for the size of a blob of which only the digest is known.
const unknownSize = -1

// verifier computes the digest of a blob's bytes as they go by.
type verifier struct {
	blob sdk.Blob
	hash hash.Hash
	n    int64
}

// newVerifier demands a digest that can be computed: a blob is a blob by its SHA-256.
func newVerifier(blob sdk.Blob) (*verifier, error) {
	sum, ok := strings.CutPrefix(string(blob.Digest), "sha256:")
	if !ok || len(sum) != 2*sha256.Size || strings.Trim(sum, "0123456789abcdef") != "" {
		return nil, invalid("%q is no SHA-256 digest such as %q", abbreviate(string(blob.Digest)), "sha256:2cf2…")
	}
	return &verifier{blob: blob, hash: sha256.New()}, nil
}

// Write never fails.
func (v *verifier) Write(p []byte) (int, error) {
	v.n += int64(len(p))
	return v.hash.Write(p)
}

// verdict is nil if the bytes so far are the blob.
func (v *verifier) verdict() error {
	if v.blob.Size >= 0 && v.n != v.blob.Size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrMismatch, v.n, v.blob.Size)
	}
	if got := "sha256:" + hex.EncodeToString(v.hash.Sum(nil)); got != string(v.blob.Digest) {
		return fmt.Errorf("%w: their digest is %q", ErrMismatch, got)
	}
	return nil
}

// tooMany says whether there are more bytes than the blob has.
func (v *verifier) tooMany() bool { return v.blob.Size >= 0 && v.n > v.blob.Size }

// clone returns a verifier that has seen the same bytes.
func (v *verifier) clone() *verifier {
	c, ok := v.hash.(hash.Cloner)
	if !ok {
		panic("transfer: SHA-256 cannot be cloned") // it can since Go 1.25
	}
	twin, err := c.Clone()
	if err != nil {
		panic("transfer: clone SHA-256: " + err.Error())
	}
	return &verifier{blob: v.blob, hash: twin, n: v.n}
}

// invalid is an error about what a plugin or a caller said.
func invalid(format string, arguments ...any) error {
	return &sdk.Error{Code: sdk.CodeInvalid, Message: fmt.Sprintf(format, arguments...)}
}

// abbreviate keeps what an error quotes readable.
func abbreviate(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
