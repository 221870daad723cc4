// Package filetree is the index at Trowel's centre: what a layer holds, and the merged view of a stack of layers, without
// any file on disk.
//
// A layer's index is a list of [Entry] values. A [Tree] is the merged view: immutable, so that a stage can be forked and a
// step undone for nothing, and persistent, so that applying a layer costs what the layer changes. COPY, WORKDIR, USER and
// the cache keys are answered from trees; a directory on disk is made only when a process has to run in it.
package filetree

import (
	"context"
	"encoding/hex"
	"io"
	"path"
	"strings"
)

// Type is what an entry is.
type Type uint8

// The types of entry. Hardlink, Whiteout and Opaque occur in layers only, never in a [Tree].
const (
	Regular Type = iota + 1
	Directory
	Symlink
	CharDevice
	BlockDevice
	FIFO
	Hardlink // another name of the file Entry.Link, a path from the root without a leading slash
	Whiteout // Entry.Path is deleted; the path is that of the victim, without the ".wh." mark
	Opaque   // what lower layers hold below the directory Entry.Path is deleted
)

var typeNames = [...]string{"invalid", "file", "directory", "symlink", "character device", "block device", "fifo", "hardlink", "whiteout", "opaque whiteout"}

// String names the type as error messages do.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return typeNames[0]
}

// Permission bits above 0777, with the values of chmod(2).
const (
	SetUID = 0o4000
	SetGID = 0o2000
	Sticky = 0o1000
)

// Digest is the SHA-256 of a file's content. The zero value means that it is not known.
type Digest [32]byte

// String is the hexadecimal form of d, without a prefix.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Known says whether d is a digest at all.
func (d Digest) Known() bool { return d != Digest{} }

// Entry is one path of a layer with all that a layer says of it.
type Entry struct {
	// Path is slash-separated, clean, and relative to the root, which is "".
	Path string
	Type Type
	// Mode holds the permission bits 07777 of chmod(2).
	Mode     uint16
	UID, GID uint32
	// Size in bytes of a regular file.
	Size int64
	// ModTime in nanoseconds since the epoch.
	ModTime int64
	// Link is the target of a symlink as written, or of a Hardlink as a clean path from the root.
	Link string
	// Major and Minor number a device.
	Major, Minor uint32
	// Xattrs are extended attributes by full name. Only "security.capability" is ever written to a layer.
	Xattrs map[string]string
	// Digest of a regular file's content; unknown where nobody read it.
	Digest Digest
	// Offset of the content in the layer's uncompressed tar.
	Offset int64
}

// Source opens the content of files. A tree remembers for each file the source that its bytes come from. Sources are
// compared, and must therefore be pointers.
type Source interface {
	// Open opens the content of one regular file of the source. The caller closes it. It yields exactly ref.Size
	// bytes or fails: a file that changed, grew or vanished meanwhile is an error.
	Open(ctx context.Context, ref Ref) (io.ReadCloser, error)
}

// Ref names a regular file in its [Source].
type Ref struct {
	Path   string // in the source, as Entry.Path
	Offset int64  // as Entry.Offset
	Size   int64
	Digest Digest // unknown where nobody read the file yet
}

// Change is one entry of a layer to be, with where its bytes are. A list of changes is sorted by [Compare], holds each path
// once, and names the parents of everything that it adds.
type Change struct {
	Entry
	// Source and From say where the content of a regular file is; Source is nil for an empty file.
	Source Source
	From   Ref
}

// Compare orders paths as layers hold them: a directory before what is in it, siblings by byte order.
func Compare(a, b string) int {
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
		a, b = restA, restB
	}
}

// Clean turns a path as users and archives write it into the form of Entry.Path: "/a//b/../c/" becomes "a/c". Leading
// "..", which would leave the root, are dropped as the kernel drops them at "/".
func Clean(p string) string {
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

// Parent is the path of the directory that holds p; the root's parent is the root.
func Parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// Base is the last element of p, and "" for the root.
func Base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

// Join puts name below dir.
func Join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
