package identity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The rules are those of setuid(2), setreuid(2), setresuid(2) and setfsuid(2).
func TestChanges(t *testing.T) {
	t.Parallel()
	app := four{1000, 1000, 1000, 1000}
	mixed := four{real: 1000, effective: 2000, saved: 3000, fs: 2000}
	for _, tt := range []struct {
		name       string
		from       four
		privileged bool
		do         func(four, bool) (four, unix.Errno)
		want       four
		errno      unix.Errno
	}{
		{"root becomes a user for good", four{}, true, func(f four, p bool) (four, unix.Errno) { return f.set(1000, p) }, app, 0},
		{"a user stays", app, false, func(f four, p bool) (four, unix.Errno) { return f.set(0, p) }, app, unix.EPERM},
		{"no ID", four{}, true, func(f four, p bool) (four, unix.Errno) { return f.set(keep, p) }, four{}, unix.EINVAL},
		{"back to the saved one", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.set(3000, p) }, four{1000, 3000, 3000, 3000}, 0},
		{"setreuid swaps", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setRE(2000, 1000, p) }, four{2000, 1000, 1000, 1000}, 0},
		{"setreuid of the effective one alone", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setRE(keep, 3000, p) }, four{1000, 3000, 3000, 3000}, 0},
		{"setreuid to the real one keeps the saved", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setRE(keep, 1000, p) }, four{1000, 1000, 3000, 1000}, 0},
		{"setreuid takes no saved one as real", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setRE(3000, keep, p) }, mixed, unix.EPERM},
		{"setresuid permutes", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setRES(3000, 1000, 2000, p) }, four{3000, 1000, 2000, 1000}, 0},
		{"setresuid keeps", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setRES(keep, 1000, keep, p) }, four{1000, 1000, 3000, 1000}, 0},
		{"setresuid of a stranger", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setRES(keep, 4, keep, p) }, mixed, unix.EPERM},
		{"setfsuid", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setFS(3000, p), 0 }, four{1000, 2000, 3000, 3000}, 0},
		{"setfsuid of a stranger", mixed, false, func(f four, p bool) (four, unix.Errno) { return f.setFS(4, p), 0 }, mixed, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, errno := tt.do(tt.from, tt.privileged)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(four{})); diff != "" || errno != tt.errno {
				t.Errorf("errno %v %s", errno, diff)
			}
		})
	}
}

// Who gives up being root keeps the right to change groups only where that was asked for: see capabilities(7).
func TestKeptRights(t *testing.T) {
	t.Parallel()
	for _, asked := range []bool{false, true} {
		before := identities{keepCaps: asked}
		after := of(User{UID: 6, GID: 0})
		after.keepCaps = asked
		after = after.after(before)
		if after.privileged() || after.mayChangeGroups() != asked {
			t.Errorf("asked %v: privileged %v, groups %v", asked, after.privileged(), after.mayChangeGroups())
		}
	}
}

func TestOwnerText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Owner{"5 6": {5, 6}, "- 7": {Unrecorded, 7}, "4294967294 0": {4294967294, 0}} {
		got, err := ParseOwner(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "5 ", "5 6 7", "-1 0", "4294967296 0", "x y"} {
		if got, err := ParseOwner(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
