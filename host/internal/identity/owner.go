package identity

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// ParseOwner reads the value of [Attribute].
func ParseOwner(value string) (Owner, error) {
	u, g, ok := strings.Cut(value, " ")
	if !ok {
		return Owner{}, fmt.Errorf("parse recorded owner %q: want two IDs", value)
	}
	uid, uidErr := parseID(u)
	gid, gidErr := parseID(g)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return Owner{}, fmt.Errorf("parse recorded owner %q: %w", value, err)
	}
	return Owner{uid, gid}, nil
}

func parseID(text string) (uint32, error) {
	if text == "-" {
		return Unrecorded, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

// String is the value of [Attribute].
func (o Owner) String() string {
	text := func(id uint32) string {
		if id == Unrecorded {
			return "-"
		}
		return strconv.FormatUint(uint64(id), 10)
	}
	return text(o.UID) + " " + text(o.GID)
}

// over is the owner where what is not recorded is another's.
func (o Owner) over(below Owner) Owner {
	if o.UID == Unrecorded {
		o.UID = below.UID
	}
	if o.GID == Unrecorded {
		o.GID = below.GID
	}
	return o
}

// chown is the family of chown(2).
func (s *Server) chown(r *notify.Request, dirfd int32, address uint64, to Owner, flags uint64) outcome {
	path := ""
	if address != 0 {
		var err error
		if path, err = s.readPath(r, address); err != nil {
			return fail(err)
		}
	}
	fd, err := s.open(r, dirfd, path, flags)
	if errors.Is(err, errMagic) {
		return outcome{pass: true}
	}
	if err != nil {
		return fail(err)
	}
	defer closeFD(fd)
	ids, err := s.people.of(r.TID)
	if err != nil {
		return fail(err)
	}
	if errno := s.mayChown(ids, fd, to); errno != 0 {
		return outcome{errno: errno}
	}
	// For what else it does: the time of change, and the bits that it takes away.
	if err := unix.Fchownat(fd, "", 0, 0, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail(err)
	}
	if to.UID == Unrecorded && to.GID == Unrecorded {
		return outcome{}
	}
	if err := s.record(fd, to); err != nil {
		return fail(err)
	}
	return outcome{}
}

// mayChown says whether a process may give a file away: root may, and an owner to one of its own groups.
func (s *Server) mayChown(ids identities, fd int, to Owner) unix.Errno {
	if ids.privileged() {
		return 0
	}
	now := s.recorded(fd).over(Owner{})
	if ids.uid.fs == now.UID && (to.UID == Unrecorded || to.UID == now.UID) && (to.GID == Unrecorded || ids.member(to.GID)) {
		return 0
	}
	return unix.EPERM
}

// record notes a file's owner.
func (s *Server) record(fd int, to Owner) error {
	to = to.over(s.recorded(fd))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		name, err := s.ownName(fd)
		if err != nil {
			return err
		}
		return unix.Setxattr(name, Attribute, []byte(to.over(Owner{}).String()), 0)
	}
	// Links and devices can have no such attribute.
	path, err := s.pathOf(fd)
	if err != nil || path == "" {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[path] = to
	return nil
}

// recorded is the owner that was noted, as far as one was.
func (s *Server) recorded(fd int) Owner {
	none := Owner{Unrecorded, Unrecorded}
	name, err := s.ownName(fd)
	if err != nil {
		return none
	}
	var value [64]byte
	if n, err := unix.Getxattr(name, Attribute, value[:]); err == nil {
		if o, err := ParseOwner(string(value[:n])); err == nil {
			return o
		}
		return none // somebody else's words
	}
	path, err := s.pathOf(fd)
	if err != nil {
		return none
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.owners[path]; ok {
		return o
	}
	return none
}
