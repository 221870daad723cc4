package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// writeMaps gives a process in a new user namespace its IDs.
func writeMaps(ctx context.Context, pid int) error {
	if os.Geteuid() == 0 {
		return writeIdentityMaps(pid)
	}
	uids, gids := delegatedHere()
	if len(uids) == 0 || len(gids) == 0 {
		return writeSingleMaps(pid)
	}
	if err := mapByProgram(ctx, "newuidmap", pid, os.Geteuid(), uids); err != nil {
		// Not installed, or no set-user-ID program may gain anything here: one's own ID needs neither.
		return writeSingleMaps(pid)
	}
	return mapByProgram(ctx, "newgidmap", pid, os.Getegid(), gids)
}

// expectsMaps says whether writeMaps will give an ordinary user more than its own ID, as far as it can be seen beforehand.
func expectsMaps() bool {
	uids, gids := delegatedHere()
	if len(uids) == 0 || len(gids) == 0 {
		return false
	}
	_, err := exec.LookPath("newuidmap")
	noGain, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && noGain == 0
}

// delegatedHere are the IDs that are delegated to this process's user; none if that cannot be read.
func delegatedHere() (uids, gids []idRange) {
	uids, uidErr := delegated("/etc/subuid", os.Geteuid())
	gids, gidErr := delegated("/etc/subgid", os.Geteuid())
	if uidErr != nil || gidErr != nil {
		return nil, nil
	}
	return uids, gids
}

// writeIdentityMaps keeps every ID.
func writeIdentityMaps(pid int) error {
	for _, kind := range []string{"uid_map", "gid_map"} {
		ranges, err := readIDMap("/proc/self/" + kind)
		if err != nil {
			return err
		}
		var lines strings.Builder
		for _, r := range ranges {
			fmt.Fprintf(&lines, "%d %d %d\n", r.Inside, r.Inside, r.Count)
		}
		if err := writeProc(pid, kind, lines.String()); err != nil {
			return err
		}
	}
	return nil
}

// writeSingleMaps makes the user root and nobody else anything. The kernel wants setgroups given up for it.
func writeSingleMaps(pid int) error {
	if err := writeProc(pid, "setgroups", "deny"); err != nil {
		return err
	}
	if err := writeProc(pid, "uid_map", fmt.Sprintf("0 %d 1\n", os.Geteuid())); err != nil {
		return err
	}
	return writeProc(pid, "gid_map", fmt.Sprintf("0 %d 1\n", os.Getegid()))
}

func writeProc(pid int, name, text string) error {
	path := fmt.Sprintf("/proc/%d/%s", pid, name)
	// A map is taken in one write; os.WriteFile would try to create the file.
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failure("open", path, err)
	}
	_, err = unix.Write(fd, []byte(text))
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		setup := &SetupError{Call: "map the user namespace's IDs", Subject: name, Err: err}
		if os.Geteuid() == 0 && errors.Is(err, unix.EPERM) {
			setup.Hint = "root needs the capabilities SETUID, SETGID and SETFCAP for it, which a container has by default"
		}
		return setup
	}
	return nil
}

// mapByProgram maps 0 to the user's own ID and what follows to the delegated ones.
func mapByProgram(ctx context.Context, program string, pid, own int, ranges []idRange) error {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(own), "1"}
	next := uint64(1)
	for _, r := range ranges {
		args = append(args, fmt.Sprint(next), fmt.Sprint(r.Outside), fmt.Sprint(r.Count))
		next += uint64(r.Count)
	}
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return &SetupError{Call: "map the user namespace's IDs", Subject: program, Err: fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))}
	}
	return nil
}

// delegated reads a user's lines of subuid(5): name or ID, first, count.
func delegated(path string, uid int) ([]idRange, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failure("read", path, err)
	}
	names := []string{strconv.Itoa(uid)}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	return parseDelegated(string(text), names), nil
}

func parseDelegated(text string, names []string) []idRange {
	var ranges []idRange
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) != 3 || fields[0] != names[0] && fields[0] != names[len(names)-1] {
			continue
		}
		first, err1 := strconv.ParseUint(fields[1], 10, 32)
		count, err2 := strconv.ParseUint(fields[2], 10, 32)
		if err1 == nil && err2 == nil && count > 0 {
			ranges = append(ranges, idRange{Outside: uint32(first), Count: uint32(count)})
		}
	}
	return ranges
}
