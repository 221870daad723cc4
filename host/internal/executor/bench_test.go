package executor

import (
	"os/exec"
	"testing"
)

// BenchmarkRun is a step whose command does nothing, BenchmarkCommand the same command alone.
func BenchmarkRun(b *testing.B) {
	root := newRootfs(b, 3)
	for b.Loop() {
		err := launcher.Run(b.Context(), root, Process{
			Args: []string{"inside", "true"}, Env: []string{"PATH=/bin"}, Dir: "/", Hostname: "x",
			ResolvConf: []byte("x"), Hosts: []byte("y"),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommand(b *testing.B) {
	for b.Loop() {
		if err := exec.CommandContext(b.Context(), inside, "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLay lays the files of the network and takes them away again, as for every RUN.
func BenchmarkLay(b *testing.B) {
	w := newLayTree(b, "etc/resolv.conf=image", "etc/hosts=image")
	p := Process{ResolvConf: []byte("nameserver 192.0.2.1\n"), Hosts: []byte("127.0.0.1 localhost\n")}
	for b.Loop() {
		l, err := w.lay(b, p)
		must(b, err)
		_, err = l.remove()
		must(b, err)
	}
}

// BenchmarkProbe finds out what the machine permits, as a build does before its first RUN.
func BenchmarkProbe(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if _, err := launcher.Probe(b.Context(), dir); err != nil {
			b.Fatal(err)
		}
	}
}
