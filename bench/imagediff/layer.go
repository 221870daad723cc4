package imagediff

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxText is how large a file may be for its text to be shown in a difference.
const maxText = 2 << 10

// layer is a layer as it was read.
type layer struct {
	members []member
	faults  []string
}

// member is an entry of a layer's archive.
type member struct {
	name string // as it was written
	path string // cleaned and absolute
	inode
	hardlink string // path of the member it is a link to, cleaned and absolute
}

// inode is what the names of a file share.
type inode struct{ entry Entry }

func (l *layer) names() []string {
	names := make([]string, len(l.members))
	for i, m := range l.members {
		names[i] = m.name
	}
	return names
}

// readLayer reads a layer whole and checks its diff ID.
func readLayer(source v1.Layer, diffID v1.Hash) (read *layer, err error) {
	stream, err := source.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	digest := sha256.New()
	all := io.TeeReader(stream, digest)
	archive := tar.NewReader(all)
	read = &layer{}
	seen := map[string]bool{}
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		m, err := newMember(header, archive)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", header.Name, err)
		}
		read.check(header, m, seen)
		seen[m.path] = true
		read.members = append(read.members, m)
	}
	if _, err := io.Copy(io.Discard, all); err != nil { // what pads the archive
		return nil, err
	}
	if got := fmt.Sprintf("%x", digest.Sum(nil)); got != diffID.Hex {
		return nil, fmt.Errorf("the diff ID is %s, the config says %s", got, diffID.Hex)
	}
	return read, nil
}

func newMember(header *tar.Header, content io.Reader) (member, error) {
	m := member{name: header.Name, path: path.Join("/", header.Name)}
	types := map[byte]string{
		tar.TypeReg: "file", tar.TypeDir: "directory", tar.TypeSymlink: "symlink", tar.TypeFifo: "fifo",
		tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeLink: "file",
	}
	e := Entry{
		Type: types[header.Typeflag],
		Mode: fmt.Sprintf("%04o", header.Mode&0o7777),
		UID:  header.Uid, GID: header.Gid,
		Time: header.ModTime.UTC(),
	}
	switch header.Typeflag {
	case tar.TypeReg:
		digest, head := sha256.New(), &strings.Builder{}
		start, err := io.CopyN(io.MultiWriter(digest, head), content, maxText)
		rest := int64(0)
		if err == nil {
			rest, err = io.Copy(digest, content)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return m, err
		}
		e.Size, e.Digest = start+rest, fmt.Sprintf("sha256:%x", digest.Sum(nil))
		if rest == 0 && utf8.ValidString(head.String()) {
			e.Text = head.String()
		}
	case tar.TypeLink:
		m.hardlink = path.Join("/", header.Linkname)
	case tar.TypeSymlink:
		e.Target = header.Linkname
	case tar.TypeChar, tar.TypeBlock:
		e.Device = fmt.Sprintf("%d:%d", header.Devmajor, header.Devminor)
	}
	if e.Type == "" {
		return m, fmt.Errorf("unknown type %q", header.Typeflag)
	}
	for key, value := range header.PAXRecords {
		if attribute, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[attribute] = fmt.Sprintf("%x", value)
		}
	}
	m.entry = e
	return m, nil
}

// check notes what a layer should not have. Base images are made by other programs and are held to the same.
func (l *layer) check(header *tar.Header, m member, seen map[string]bool) {
	fault := func(format string, arguments ...any) {
		l.faults = append(l.faults, fmt.Sprintf("%q: %s", header.Name, fmt.Sprintf(format, arguments...)))
	}
	if seen[m.path] {
		fault("is there twice")
	}
	if parent := path.Dir(m.path); parent != "/" && !seen[parent] {
		fault("is not after its directory")
	}
	if m.hardlink != "" && !seen[m.hardlink] {
		fault("is a hard link to %q, which is not before it in the layer", header.Linkname)
	}
	if m.hardlink != "" && strings.HasPrefix(header.Linkname, "/") {
		fault("is a hard link to %q, which is not relative", header.Linkname)
	}
	if strings.HasPrefix(header.Name, "/") || strings.Contains("/"+header.Name+"/", "/../") {
		fault("is absolute or climbs up")
	}
	if m.entry.Type == "directory" && !strings.HasSuffix(header.Name, "/") {
		fault("is a directory without a slash at its end")
	}
	if header.ModTime.Nanosecond() != 0 {
		fault("has a time of part of a second")
	}
	if !header.AccessTime.IsZero() || !header.ChangeTime.IsZero() {
		fault("has an access or change time")
	}
	if header.Uname != "" || header.Gname != "" {
		fault("has the name of its owner or group")
	}
	if path.Base(m.path) == opaque { // readers differ on what an opaque directory hides
		fault("is opaque, and does not name what it deletes")
	}
	if strings.HasPrefix(path.Base(m.path), whiteout) {
		if m.entry.Type != "file" || m.entry.Size != 0 {
			fault("is a whiteout with content")
		}
		if old := time.Unix(0, 0); !m.entry.Time.Equal(old) {
			fault("is a whiteout of %s, not of 1970", m.entry.Time.Format(time.DateTime))
		}
	}
}
