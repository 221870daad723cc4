package filecopy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/trowel-build/trowel/host/internal/effect"
	"github.com/trowel-build/trowel/host/internal/filetree"
)

// ArchiveOptions say how archives are looked into.
type ArchiveOptions struct {
	// Dir is where decompressed archives are kept while [Archives] is open. The files have no name there, and go with
	// the process whatever happens.
	Dir string
	// MaxSize bounds what one archive may expand to; 0 is 64 GiB. Beyond a GiB it may also not expand to more than a
	// thousand times its size.
	MaxSize int64
	Hashing Hashing
}

// Hashing says whether the files of an archive are hashed while it is read.
type Hashing string

// The two ways.
const (
	HashLater Hashing = ""    // whoever copies a file hashes it
	HashNow   Hashing = "now" // all of them, since most will be copied
)

const (
	defaultMaxSize = 64 << 30
	freeSize       = 1 << 30
	maxRatio       = 1000
	// maxEntries bounds the memory that an archive of empty files can take.
	maxEntries = 2 << 20
)

// Archives are the archives among the sources of an ADD.
type Archives struct {
	byFile map[archiveKey]*Archive
}

type archiveKey struct {
	tree *filetree.Tree
	path string
}

// Archive is an indexed archive and the [filetree.Source] of its files.
type Archive struct {
	// entries in the archive's order, their paths as in the archive, clean.
	entries []filetree.Change

	plain    filetree.Source // what holds the archive if it is not compressed and can be read anywhere
	plainRef filetree.Ref
	spool    *os.File // else its decompressed copy
	expanded *expanded
}

// expanded is the [filetree.Source] of an archive's sparse files, written out.
type expanded struct{ file *os.File }

// FindArchives looks into the regular files that the sources to unpack name, by themselves or by wildcard, and indexes those that
// are archives: plain tar, or tar compressed with gzip, bzip2, xz or zstd, told by their content alone. Each archive is
// read once. The result goes into [Spec.Archives] and is closed when the layer has been written.
//
// Sources that do not exist are passed over; [Plan] reports them.
func FindArchives(ctx context.Context, sources []Source, o ArchiveOptions) (_ *Archives, err error) {
	if o.MaxSize <= 0 {
		o.MaxSize = defaultMaxSize
	}
	found := &Archives{byFile: map[archiveKey]*Archive{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, found.Close())
		}
	}()
	for i := range sources {
		s := &sources[i]
		for _, m := range s.named() {
			if found.find(s.Tree, m.path) != nil {
				continue
			}
			a, err := openArchive(ctx, m, o)
			if err != nil {
				return nil, fmt.Errorf("unpack %q: %w", m.name, err)
			}
			if a != nil {
				found.byFile[archiveKey{s.Tree, m.path}] = a
			}
		}
	}
	return found, nil
}

// named are the files of a source that are looked into.
func (s *Source) named() (files []match) {
	if s.Unpack != effect.UnpackAlways {
		return nil
	}
	for _, p := range s.Paths {
		matches, err := s.match(p)
		if err != nil {
			continue
		}
		for _, m := range matches {
			if m.node.Type() == filetree.Regular && m.node.Size() > 0 {
				files = append(files, m)
			}
		}
	}
	return files
}

// Named are the paths of the files that [FindArchives] looks into: an archive in a directory that is copied stays a file.
func Named(sources []Source) (paths []string) {
	for i := range sources {
		for _, m := range sources[i].named() {
			paths = append(paths, m.path)
		}
	}
	return paths
}

// Len is how many there are.
func (a *Archives) Len() int { return len(a.byFile) }

func (a *Archives) find(t *filetree.Tree, p string) *Archive {
	if a == nil {
		return nil
	}
	return a.byFile[archiveKey{t, p}]
}

// Close frees what the archives take on disk. Their files cannot be read afterwards.
func (a *Archives) Close() error {
	var errs []error
	for _, x := range a.byFile {
		errs = append(errs, x.close())
	}
	return errors.Join(errs...)
}

func (a *Archive) close() error {
	var errs []error
	if a.spool != nil {
		errs = append(errs, a.spool.Close())
	}
	if a.expanded != nil {
		errs = append(errs, a.expanded.file.Close())
	}
	return errors.Join(errs...)
}

// openArchive indexes a file if it is an archive; else it returns nil.
func openArchive(ctx context.Context, m match, o ArchiveOptions) (_ *Archive, err error) {
	source, ref := m.node.Source(m.path)
	f, err := source.Open(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	a := &Archive{}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	limit := o.MaxSize
	if limit > freeSize {
		limit = min(limit, max(freeSize, ref.Size*maxRatio))
	}
	x := indexer{archive: a, dir: o.Dir, limit: limit, hashing: o.Hashing}
	head := bufio.NewReaderSize(f, 64<<10)
	unpacker, err := decompressor(head)
	if err != nil {
		return nil, nil //nolint:nilerr // what starts like a compressed file but is none is copied
	}
	if at, ok := f.(io.ReaderAt); ok && unpacker == nil {
		a.plain, a.plainRef = source, ref
		section := io.NewSectionReader(at, 0, ref.Size)
		position := func() int64 { n, _ := section.Seek(0, io.SeekCurrent); return n }
		if archive, err := x.index(ctx, section, position); archive || err != nil {
			return a, err
		}
		return nil, a.close()
	}
	if unpacker == nil {
		unpacker = io.NopCloser(head)
	}
	defer unpacker.Close() // what it says of a file that is no archive does not matter; of one that is, reading said it
	if archive, err := x.spool(ctx, unpacker); archive || err != nil {
		return a, err
	}
	return nil, a.close()
}

// Open implements [filetree.Source].
func (a *Archive) Open(ctx context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	if a.spool != nil {
		return io.NopCloser(io.NewSectionReader(a.spool, ref.Offset, ref.Size)), nil
	}
	f, err := a.plain.Open(ctx, a.plainRef)
	if err != nil {
		return nil, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("read %q from an archive: it cannot be read from the middle any more", ref.Path), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(at, ref.Offset, ref.Size), f}, nil
}

// Open implements [filetree.Source].
func (e *expanded) Open(_ context.Context, ref filetree.Ref) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(e.file, ref.Offset, ref.Size)), nil
}

var (
	_ filetree.Source = (*Archive)(nil)
	_ filetree.Source = (*expanded)(nil)
)
