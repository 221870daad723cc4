package filecopy

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/trowel-build/trowel/host/internal/filetree"
	"github.com/trowel-build/trowel/host/internal/layer"
)

// blockSize is that of tar; content starts on a block.
const blockSize = 512

// indexer reads an archive once.
type indexer struct {
	archive *Archive
	dir     string // for temporary files
	limit   int64  // of what it expands to
	hashing Hashing
	end     int64 // of the sparse files that were written out
}

// spool indexes a stream while it writes it to a file.
func (x *indexer) spool(ctx context.Context, r io.Reader) (archive bool, err error) {
	if x.archive.spool, err = temporary(x.dir); err != nil {
		return false, err
	}
	out := bufio.NewWriterSize(x.archive.spool, 256<<10)
	s := &spooler{from: r, to: out, limit: x.limit}
	if archive, err = x.index(ctx, s, func() int64 { return s.n }); err != nil || !archive {
		return archive, err
	}
	return true, out.Flush()
}

// spooler writes what is read to a file.
type spooler struct {
	from     io.Reader
	to       io.Writer
	n, limit int64
}

// Read implements [io.Reader].
func (s *spooler) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.n += int64(n)
	if s.n > s.limit {
		return 0, tooLarge(s.limit)
	}
	if _, werr := s.to.Write(p[:n]); werr != nil {
		return 0, fmt.Errorf("keep the decompressed archive: %w", werr)
	}
	return n, err
}

// errTooLarge marks an archive that expands beyond all measure.
var errTooLarge = errors.New("the archive expands to too much")

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: more than %d MiB; if that is meant, unpack it before the build", errTooLarge, limit>>20)
}

// index reads all headers. It reports false if the first is none: then the file is no archive. position says how much of
// r was read.
func (x *indexer) index(ctx context.Context, r io.Reader, position func() int64) (archive bool, err error) {
	tr := tar.NewReader(r)
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		h, err := tr.Next()
		switch {
		case first && err != nil && ctx.Err() == nil:
			return false, nil //nolint:nilerr // what cannot be read as an archive is none
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		}
		e, ok, err := x.entry(h)
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		if len(x.archive.entries) >= maxEntries {
			return false, fmt.Errorf("%w: more than %d files", errTooLarge, maxEntries)
		}
		if err := x.add(e, h, tr, position()); err != nil {
			return false, fmt.Errorf("%q: %w", e.Path, err)
		}
	}
}

// entry turns a header into an entry. ok is false for one that stands for no file.
func (x *indexer) entry(h *tar.Header) (e filetree.Entry, ok bool, err error) {
	const volumeLabel = 'V' // GNU's
	if h.Typeflag == tar.TypeXGlobalHeader || h.Typeflag == volumeLabel {
		return e, false, nil
	}
	if leadsOut(h.Name) {
		return e, false, fmt.Errorf("%q leads out of the archive", h.Name)
	}
	if h.Typeflag == tar.TypeLink && leadsOut(h.Linkname) {
		return e, false, fmt.Errorf("%q: its link %q leads out of the archive", h.Name, h.Linkname)
	}
	// Before the names of deletions get a meaning: here they would be files.
	if err := checkName(filetree.Clean(h.Name)); err != nil {
		return e, false, err
	}
	e, err = layer.EntryFromHeader(h)
	if errors.Is(err, layer.ErrIgnored) {
		return e, false, nil
	}
	e.ModTime = max(e.ModTime, 0) // as BuildKit unpacks: an archive's time from before 1970 is none
	if e.Type == filetree.Symlink {
		e.Mode = 0o777 // whatever the archive says: on disk it has no other
	}
	return e, err == nil, err
}

func leadsOut(name string) bool {
	p := path.Clean(name)
	return p == ".." || strings.HasPrefix(p, "../")
}

// add adds an entry whose content starts at offset.
func (x *indexer) add(e filetree.Entry, h *tar.Header, content io.Reader, offset int64) error {
	c := filetree.Change{Entry: e}
	if e.Type == filetree.Regular && e.Size > 0 {
		c.Source, c.From = x.archive, filetree.Ref{Path: e.Path, Offset: offset, Size: e.Size}
		sum := sha256.New()
		if x.hashing == HashNow {
			content = io.TeeReader(content, sum)
		}
		if isSparse(h) {
			if err := x.expand(&c, content); err != nil {
				return err
			}
		} else if x.hashing == HashNow {
			if _, err := io.Copy(io.Discard, content); err != nil {
				return err
			}
		}
		if x.hashing == HashNow {
			c.Digest = filetree.Digest(sum.Sum(nil))
			c.From.Digest = c.Digest
		}
	}
	x.archive.entries = append(x.archive.entries, c)
	return nil
}

// isSparse says whether a file's content is not what the archive holds.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// expand writes a sparse file out, its holes staying such.
func (x *indexer) expand(c *filetree.Change, content io.Reader) (err error) {
	if c.Size > x.limit-x.end {
		return tooLarge(x.limit)
	}
	if x.archive.expanded == nil {
		f, err := temporary(x.dir)
		if err != nil {
			return err
		}
		x.archive.expanded = &expanded{f}
	}
	file := x.archive.expanded.file
	n, err := io.Copy(&holes{file: file, at: x.end}, content)
	if err != nil {
		return err
	}
	if n != c.Size {
		return io.ErrUnexpectedEOF
	}
	c.Source, c.From = x.archive.expanded, filetree.Ref{Path: c.Path, Offset: x.end, Size: n}
	x.end += n
	x.end += (blockSize - x.end%blockSize) % blockSize
	return file.Truncate(x.end)
}

// holes writes to a file but for what is zero.
type holes struct {
	file *os.File
	at   int64
}

// Write implements [io.Writer].
func (h *holes) Write(p []byte) (int, error) {
	for _, b := range p {
		if b != 0 {
			if _, err := h.file.WriteAt(p, h.at); err != nil {
				return 0, err
			}
			break
		}
	}
	h.at += int64(len(p))
	return len(p), nil
}

// temporary makes a file without a name.
func temporary(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "archive-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
