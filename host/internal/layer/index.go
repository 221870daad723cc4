package layer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// Limits on layers, which are not trusted.
const (
	maxPath    = 4096 // PATH_MAX
	maxEntries = 5_000_000
	// maxInline is up to what size a file's content is kept in the index.
	maxInline = 1 << 20
)

// Index is what a layer holds, without the layer. It answers most questions about an image whose bytes are elsewhere.
type Index struct {
	// Entries in the order of the layer. A path that occurs twice means what it means in a tar: the later one counts.
	Entries []filetree.Entry
	// Inline is the content of files that a builder asks for by itself.
	Inline Inline
}

// Inline is the content of small files by digest: etc/passwd and etc/group, where they are at most 1 MiB.
type Inline map[filetree.Digest][]byte

// isInlined says whether the index keeps the content of the file at a path.
func isInlined(p string) bool { return p == "etc/passwd" || p == "etc/group" }

// add keeps a copy of content, if it is small enough.
func (in Inline) add(content []byte) {
	if len(content) <= maxInline {
		in[sha256.Sum256(content)] = bytes.Clone(content)
	}
}

// Source answers with the inline content where it has it, and lets next answer all else.
func (in Inline) Source(next filetree.Source) filetree.Source {
	return &inlineSource{inline: in, next: next}
}

type inlineSource struct {
	inline Inline
	next   filetree.Source
}

// Open opens a file. Its content is known by its digest alone, so it does not matter what layer it is from.
func (s *inlineSource) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	if content, ok := s.inline[ref.Digest]; ok && ref.Digest.Known() {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	return s.next.Open(ctx, ref)
}
