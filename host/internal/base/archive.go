package base

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

const (
	// maxMembers is how many files an archive of an image may have. Each takes some memory.
	maxMembers = 1 << 17
	// maxMemberName is how long their names may be together.
	maxMemberNames = 16 << 20
	// maxAliases is how many links of an archive are followed in a row.
	maxAliases = 8
)

// archive is the files of a tar, which is not unpacked: what is wanted of it is read where it lies.
type archive struct {
	name    string
	file    *os.File
	members map[string]member
}

// member is a file in an archive.
type member struct {
	offset, bytes int64
	alias         string // another member, if this one is a link
}

// openArchive opens a tar and notes where its files are.
func openArchive(name string) (_ *archive, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open archive %q: it is not a regular file, and what is in it is needed in another order: write it to a file first", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	a := &archive{name: name, file: f, members: map[string]member{}}
	if err := a.scan(); err != nil {
		return nil, errors.Join(fmt.Errorf("open archive %q: %w", name, err), f.Close())
	}
	return a, nil
}

// compressed are the first bytes of compressed files.
var compressed = []struct{ name, magic, cure string }{
	{"gzip", "\x1f\x8b", "gunzip"},
	{"zstd", "\x28\xb5\x2f\xfd", "unzstd"},
	{"xz", "\xfd7zXZ\x00", "unxz"},
	{"bzip2", "BZh", "bunzip2"},
}

func (a *archive) scan() error {
	start := make([]byte, 8)
	n, err := a.file.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, c := range compressed {
		if bytes.HasPrefix(start[:n], []byte(c.magic)) {
			return fmt.Errorf("it is compressed with %s, and what is in it is needed in another order: run %s first", c.name, c.cure)
		}
	}
	r := tar.NewReader(a.file)
	names := 0
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if names += len(h.Name) + len(h.Linkname); names > maxMemberNames || len(a.members) == maxMembers {
			return fmt.Errorf("it has more than %d files, or their names more than %d bytes: it is no image", maxMembers, maxMemberNames)
		}
		if err := a.add(h); err != nil {
			return err
		}
	}
}

// add notes a member. The reader reads no further than the header, so the file's offset is that of the content.
func (a *archive) add(h *tar.Header) error {
	name := path.Clean("/" + h.Name)[1:]
	switch h.Typeflag {
	case tar.TypeReg:
		if isSparse(h) {
			return fmt.Errorf("its file %q has holes: write the archive without them", h.Name)
		}
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		a.members[name] = member{offset: offset, bytes: h.Size}
	case tar.TypeSymlink: // docker save wrote these where two images share a layer
		a.members[name] = member{alias: path.Join("/", path.Dir("/"+name), h.Linkname)[1:]}
	case tar.TypeLink:
		a.members[name] = member{alias: path.Clean("/" + h.Linkname)[1:]}
	}
	return nil
}

// isSparse says whether a file's content is not what the archive has at its place.
func isSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// open opens a member. Members are read beside each other, each with a position of its own.
func (a *archive) open(name string) (file, error) {
	m, ok := a.members[path.Clean(name)]
	for range maxAliases {
		if !ok || m.alias == "" {
			break
		}
		m, ok = a.members[m.alias]
	}
	if !ok || m.alias != "" {
		return nil, fmt.Errorf("archive %q has no file %q", a.name, name)
	}
	return memberFile{io.NewSectionReader(a.file, m.offset, m.bytes)}, nil
}

// Close closes the archive.
func (a *archive) Close() error { return a.file.Close() }

// memberFile is an open member.
type memberFile struct{ *io.SectionReader }

func (m memberFile) size() int64 { return m.Size() }

// Close does nothing: the archive stays open.
func (memberFile) Close() error { return nil }
