// Package executor runs one process in a root file system made of layers, isolated by namespaces, without a daemon and
// without a runtime beside it.
//
// A step is started by running this very program once more: [Main], called first thing in the program's main, recognises
// that run by its argv[0], builds the mounts from the inside and becomes the command by execve. What the child needs is
// handed over in a memory file, and it answers over a pipe that execve closes: silence there means that the command runs.
//
// The order of a step, which the files of this package follow:
//
//	run.go       the builder: clone with new namespaces, hand over, copy output, wait
//	step.go      the child, top to bottom: overlay, /proc, /dev, /sys, mounts, pivot, credentials, seccomp, execve
//	userns.go    an ordinary user: the whole program once more inside a user namespace
//	probe.go     what this machine permits, found by doing it
//
// The command is process 1 of its namespace. When it ends the kernel kills every process it left behind, so that no
// supervising process is needed. Only where a fresh /proc may not be mounted (in a container whose own /proc is masked) a
// step shares the PID namespace, and supervise.go kills what is left.
//
// Every path inside the root file system is resolved by openat2 with that root as its root, and mounts are attached to
// descriptors, never to paths: a symlink in a hostile image leads nowhere else.
package executor
