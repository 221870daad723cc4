package executor

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A limit is the command's, and is neither Go's nor the builder's.
func TestLimits(t *testing.T) {
	t.Parallel()
	p := command("cat", "/proc/self/limits")
	p.Limits = []Limit{{"nofile", 32, 64}, {"nofile", 48, 48}, {"core", 5, 6}, {"fsize", 0, 0}, {"data", 1 << 30, 1 << 30}}
	got := strings.Join(strings.Fields(mustOutput(t, newRootfs(t, 1), p)), " ")
	for _, want := range []string{"Max open files 48 48 files", "Max core file size 5 6 bytes", "Max file size 0 0 bytes", "Max data size 1073741824 1073741824 bytes"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil || own.Max == 48 {
		t.Errorf("the builder's own limit is %d, %v", own.Max, err)
	}
}

func TestLimitsChecked(t *testing.T) {
	t.Parallel()
	for _, l := range []Limit{{"files", 1, 1}, {"", 1, 1}, {"core", 2, 1}, {"core", -1, 1}, {"core", -2, -2}, {"core", 0, -2}} {
		if l.Check() == nil {
			t.Errorf("%s is taken", l)
		}
	}
	for _, l := range []Limit{{"core", 1, 2}, {"core", 1, -1}, {"nofile", -1, -1}, {"stack", 0, 0}} {
		if err := l.Check(); err != nil {
			t.Error(err)
		}
	}
}

// Where nothing is mounted the size of /dev/shm cannot be chosen, which is said rather than ignored.
func TestPlainHasNoShm(t *testing.T) {
	t.Parallel()
	p := command("true")
	p.ShmSize = 1
	for _, rung := range []Rung{RungInPlace, RungSupervised, RungChroot} {
		_, err := launcher.RunPlain(t.Context(), rung, Plain{Dir: t.TempDir(), Aside: t.TempDir()}, p)
		if err == nil || !strings.Contains(err.Error(), "/dev/shm") {
			t.Errorf("%s: %v", rung, err)
		}
	}
}
