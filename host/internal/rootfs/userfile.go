package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

const (
	passwdFile = "etc/passwd"
	groupFile  = "etc/group"
	// maxUserFile bounds what is read of an image's passwd and group files, as BuildKit does.
	maxUserFile = 10 << 20
)

// userFile is the text of a passwd or group file. It is searched line by line, for a search is what it is read for.
type userFile []byte

// passwdEntry is a line of passwd(5).
type passwdEntry struct {
	name    string
	id, gid uint32
	home    string
}

// readUserFile reads a passwd or group file of a tree. One that is missing is empty.
func readUserFile(ctx context.Context, tree *filetree.Tree, file string) (_ userFile, err error) {
	p, n, err := tree.Resolve(file, filetree.FollowLast)
	switch {
	case errors.Is(err, filetree.ErrNotExist), errors.Is(err, filetree.ErrNotDirectory):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find the image's /%s: %w", file, err)
	case n.Type() != filetree.Regular:
		return nil, fmt.Errorf("read the image's /%s: is a %s", file, n.Type())
	case n.Size() > maxUserFile:
		return nil, fmt.Errorf("read the image's /%s: its %d bytes are more than the %d that are allowed", file, n.Size(), maxUserFile)
	case n.Size() == 0:
		return nil, nil
	}
	source, ref := n.Source(p)
	if source == nil {
		return nil, fmt.Errorf("read the image's /%s: its content is nowhere", file)
	}
	r, err := source.Open(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("read the image's /%s: %w", file, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	text, err := io.ReadAll(io.LimitReader(r, maxUserFile))
	if err != nil {
		return nil, fmt.Errorf("read the image's /%s: %w", file, err)
	}
	return text, nil
}

// fields yields the lines that are entries, split at colons.
func (f userFile) fields(visit func(fields [][]byte) (done bool)) {
	for line := range bytes.Lines(f) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if fields := bytes.Split(line, []byte{':'}); len(fields) > 2 && visit(fields) {
			return
		}
	}
}

// find returns the first passwd entry that matches. A line whose numbers are none is no entry: to take them for 0, as others do,
// would make root of a user by a typing error. Missing last fields are forgiven.
func (f userFile) find(match func(passwdEntry) bool) (found passwdEntry, ok bool) {
	f.fields(func(fields [][]byte) bool {
		e := passwdEntry{name: string(fields[0])}
		id, err := strconv.ParseUint(string(fields[2]), 10, 32)
		if err != nil {
			return false
		}
		e.id = uint32(id)
		if len(fields) > 3 && len(fields[3]) > 0 {
			gid, err := strconv.ParseUint(string(fields[3]), 10, 32)
			if err != nil {
				return false
			}
			e.gid = uint32(gid)
		}
		if len(fields) > 5 {
			e.home = string(fields[5])
		}
		if ok = match(e); ok {
			found = e
		}
		return ok
	})
	return found, ok
}

func (f userFile) byName(name string) (passwdEntry, bool) {
	return f.find(func(e passwdEntry) bool { return e.name == name })
}

func (f userFile) byID(id uint32) (passwdEntry, bool) {
	return f.find(func(e passwdEntry) bool { return e.id == id })
}

// home is the home directory of the first user with a uid.
func (f userFile) home(uid uint32) string {
	if e, ok := f.byID(uid); ok && e.home != "" {
		return e.home
	}
	return "/"
}

// group is the id of the first group of a name.
func (f userFile) group(name string) (gid uint32, ok bool) {
	f.fields(func(fields [][]byte) bool {
		id, err := strconv.ParseUint(string(fields[2]), 10, 32)
		ok = err == nil && string(fields[0]) == name
		gid = uint32(id)
		return ok
	})
	return gid, ok
}

// groupsOf lists the ids of the groups that name a user among their members.
func (f userFile) groupsOf(name string) []uint32 {
	var ids []uint32
	f.fields(func(fields [][]byte) bool {
		id, err := strconv.ParseUint(string(fields[2]), 10, 32)
		if err != nil || len(fields) < 4 {
			return false
		}
		for member := range bytes.SplitSeq(fields[3], []byte{','}) {
			if string(member) == name {
				ids = append(ids, uint32(id))
				break
			}
		}
		return false
	})
	return ids
}
