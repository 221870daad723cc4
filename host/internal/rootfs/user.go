package rootfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// ErrUnknownUser says that an image's /etc/passwd or /etc/group does not know a name.
var ErrUnknownUser = errors.New("no such name")

// User is who a process runs as.
type User struct {
	UID, GID uint32
	// Groups are all groups of the process, GID first.
	Groups []uint32
	// Home is the home directory, "/" for a user without a passwd entry.
	Home string
}

// LookupUser finds who USER means to a process, as BuildKit and runc see it:
//
//	""      root, with the groups that /etc/group gives it
//	name    uid and gid of /etc/passwd, and the groups that /etc/group gives the name
//	uid     the same for the first passwd entry with that uid; gid 0 without an entry. It is never taken for a name
//	u:g     group g and no other, g being a name or a gid
//
// "root" needs no entry. The files are found inside the tree, following its symlinks.
func LookupUser(ctx context.Context, tree *filetree.Tree, spec string) (User, error) {
	u, err := lookupUser(ctx, tree, spec)
	if err != nil {
		return User{}, fmt.Errorf("look up user %q: %w", spec, err)
	}
	return u, nil
}

func lookupUser(ctx context.Context, tree *filetree.Tree, spec string) (User, error) {
	name, group, _ := strings.Cut(spec, ":")
	id, numeric, err := parseID(name)
	if err != nil {
		return User{}, err
	}
	gid, numericGroup, err := parseID(group)
	if err != nil {
		return User{}, err
	}
	passwd, passwdErr := readUserFile(ctx, tree, passwdFile)
	var u User
	var account passwdEntry
	var found bool
	switch {
	case name == "" || numeric:
		account, found = passwd.byID(id)
		u.UID = id
	default:
		if account, found = passwd.byName(name); !found && name != "root" {
			return User{}, unknown(name, passwdFile, passwdErr)
		}
		u.UID = account.id
	}
	// What a passwd file cannot answer matters where something depends on it.
	if passwdErr != nil && numeric && name != "" && group == "" {
		return User{}, passwdErr
	}
	u.GID, u.Home = account.gid, passwd.home(u.UID)
	switch {
	case group == "":
		u.Groups, err = groupsOf(ctx, tree, u.GID, account.name, found)
	case numericGroup:
		u.GID, u.Groups = gid, []uint32{gid}
	default:
		u.GID, err = groupID(ctx, tree, group)
		u.Groups = []uint32{u.GID}
	}
	if err != nil && spec == "" {
		return User{Groups: []uint32{0}, Home: u.Home}, nil
	}
	return u, err
}

// groupsOf lists the groups of a user, the primary first.
func groupsOf(ctx context.Context, tree *filetree.Tree, gid uint32, name string, found bool) ([]uint32, error) {
	groups := []uint32{gid}
	if !found {
		return groups, nil
	}
	file, err := readUserFile(ctx, tree, groupFile)
	if err != nil {
		return nil, err
	}
	for _, id := range file.groupsOf(name) {
		if !slices.Contains(groups, id) {
			groups = append(groups, id)
		}
	}
	return groups, nil
}

// LookupOwner finds whom --chown means by a user: a number alone is uid and gid; a name alone is the user with
// the group of its passwd entry; an empty user is root. A name that is not known is an error.
func LookupOwner(ctx context.Context, tree *filetree.Tree, spec string) (uid, gid uint32, err error) {
	name, group, _ := strings.Cut(spec, ":")
	if uid, gid, err = ownerOf(ctx, tree, name); err == nil && group != "" {
		gid, err = groupID(ctx, tree, group)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("look up owner %q: %w", spec, err)
	}
	return uid, gid, nil
}

// Assume is [LookupOwner] as BuildKit's WORKDIR has it: what is not known is root, or of a user that is known the user's own
// group. It tells what was not known to missing.
func Assume(ctx context.Context, tree *filetree.Tree, spec string, missing func(error)) (uid, gid uint32, err error) {
	name, group, _ := strings.Cut(spec, ":")
	if uid, gid, err = ownerOf(ctx, tree, name); errors.Is(err, ErrUnknownUser) {
		missing(err)
		uid, gid, err = 0, 0, nil
	}
	if err != nil || group == "" {
		return uid, gid, err
	}
	id, err := groupID(ctx, tree, group)
	if errors.Is(err, ErrUnknownUser) {
		missing(err)
		return uid, gid, nil
	}
	return uid, id, err
}

func ownerOf(ctx context.Context, tree *filetree.Tree, name string) (uid, gid uint32, err error) {
	if name == "" || name == "root" {
		return 0, 0, nil
	}
	id, numeric, err := parseID(name)
	if numeric || err != nil {
		return id, id, err
	}
	passwd, fileErr := readUserFile(ctx, tree, passwdFile)
	account, found := passwd.byName(name)
	if !found {
		return 0, 0, unknown(name, passwdFile, fileErr)
	}
	return account.id, account.gid, nil
}

func groupID(ctx context.Context, tree *filetree.Tree, name string) (uint32, error) {
	if id, numeric, err := parseID(name); numeric || err != nil {
		return id, err
	}
	groups, fileErr := readUserFile(ctx, tree, groupFile)
	id, found := groups.group(name)
	if !found && name != "root" {
		return 0, unknown(name, groupFile, fileErr)
	}
	return id, nil
}

// unknown says that a file lacks a name, or why it could not be asked.
func unknown(name, file string, fileErr error) error {
	if fileErr != nil {
		return fileErr
	}
	return fmt.Errorf("%w: %q in the image's /%s", ErrUnknownUser, name, file)
}

// parseID tells numbers from names. What looks like a number is never a name, lest an image's passwd file redefine it.
func parseID(s string) (id uint32, numeric bool, err error) {
	digits := strings.TrimLeft(s, "+-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 { // -1 means "no change" to chown(2)
		return 0, true, fmt.Errorf("id %q is not between 0 and 4294967294", s)
	}
	return uint32(n), true, nil
}
