//go:build amd64

package procview

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The filter stops calls that may lead into /proc, and lets go of those that cannot, or that nobody could follow.
func TestProgram(t *testing.T) {
	t.Parallel()
	var program []bpf.Instruction
	for _, i := range Program() {
		program = append(program, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K}.Disassemble())
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	const cwd = 1<<64 + unix.AT_FDCWD
	for _, tt := range []struct {
		name string
		arch uint32
		call uint32
		args [6]uint64
		stop bool
	}{
		{"read", unix.AUDIT_ARCH_X86_64, unix.SYS_READ, [6]uint64{900}, false},
		{"open", unix.AUDIT_ARCH_X86_64, unix.SYS_OPEN, [6]uint64{}, true},
		{"openat from the working directory", unix.AUDIT_ARCH_X86_64, unix.SYS_OPENAT, [6]uint64{cwd}, true},
		{"openat with an int of 32 bits", unix.AUDIT_ARCH_X86_64, unix.SYS_OPENAT, [6]uint64{0xffffff9c}, true},
		{"openat from a low descriptor", unix.AUDIT_ARCH_X86_64, unix.SYS_OPENAT, [6]uint64{5}, false},
		{"openat from a high descriptor", unix.AUDIT_ARCH_X86_64, unix.SYS_OPENAT, [6]uint64{901}, true},
		{"stat by descriptor", unix.AUDIT_ARCH_X86_64, unix.SYS_NEWFSTATAT, [6]uint64{901, 0, 0, unix.AT_EMPTY_PATH}, false},
		{"stat by path", unix.AUDIT_ARCH_X86_64, unix.SYS_NEWFSTATAT, [6]uint64{cwd, 0, 0, unix.AT_SYMLINK_NOFOLLOW}, true},
		{"run by descriptor", unix.AUDIT_ARCH_X86_64, unix.SYS_EXECVEAT, [6]uint64{3, 0, 0, 0, unix.AT_EMPTY_PATH}, false},
		{"run by path", unix.AUDIT_ARCH_X86_64, unix.SYS_EXECVE, [6]uint64{}, true},
		{"times of a descriptor", unix.AUDIT_ARCH_X86_64, unix.SYS_UTIMENSAT, [6]uint64{3}, false},
		{"times of a path", unix.AUDIT_ARCH_X86_64, unix.SYS_UTIMENSAT, [6]uint64{cwd, 1 << 40}, true},
		{"times of a link, as dpkg sets them", unix.AUDIT_ARCH_X86_64, unix.SYS_UTIMENSAT, [6]uint64{cwd, 1 << 40, 0, unix.AT_SYMLINK_NOFOLLOW}, false},
		{"link", unix.AUDIT_ARCH_X86_64, unix.SYS_LINKAT, [6]uint64{cwd, 1, cwd, 1}, false},
		{"link that follows", unix.AUDIT_ARCH_X86_64, unix.SYS_LINKAT, [6]uint64{cwd, 1, cwd, 1, unix.AT_SYMLINK_FOLLOW}, true},
		{"fchdir", unix.AUDIT_ARCH_X86_64, unix.SYS_FCHDIR, [6]uint64{4}, false},
		{"fchdir to a directory of the mirror", unix.AUDIT_ARCH_X86_64, unix.SYS_FCHDIR, [6]uint64{900}, true},
		{"another architecture", unix.AUDIT_ARCH_I386, unix.SYS_READ, [6]uint64{}, true},
	} {
		var data [64]byte // the machine that runs the test reads in network order
		binary.BigEndian.PutUint32(data[0:], tt.call)
		binary.BigEndian.PutUint32(data[4:], tt.arch)
		for i, arg := range tt.args {
			binary.BigEndian.PutUint32(data[16+8*i:], uint32(arg))
			binary.BigEndian.PutUint32(data[20+8*i:], uint32(arg>>32))
		}
		got, err := vm.Run(data[:])
		want := uint32(unix.SECCOMP_RET_ALLOW)
		if tt.stop {
			want = unix.SECCOMP_RET_USER_NOTIF
		}
		if err != nil || uint32(got) != want {
			t.Errorf("%s: got %#x, %v, want %#x", tt.name, uint32(got), err, want)
		}
	}
}

// Every call that is stopped for its path is in the table, and the other way round.
func TestFrequency(t *testing.T) {
	t.Parallel()
	table := calls()
	for _, nr := range frequency() {
		if table[nr].path == 0 {
			t.Errorf("call %d is stopped and not answered", nr)
		}
		delete(table, nr)
	}
	for nr := range table {
		t.Errorf("call %d is never stopped", nr)
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	const text = "Name:\tUid:\nUmask:\t0027\nTgid:\t70\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t00000000a80425fb\n"
	got, err := parseStatus([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := (credentials{uid: 4, gid: 8, groups: []uint32{9, 10}, caps: 0xa80425fb}); !got.equal(want) || got.tgid != 70 || got.umask != 0o27 {
		t.Errorf("got %+v", got)
	}
	if _, err := parseStatus([]byte("Tgid:\t70\n")); err == nil {
		t.Error("a status without a user was accepted")
	}
}
