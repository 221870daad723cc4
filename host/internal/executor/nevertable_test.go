package executor

// neverRows is the table. Where an answer is that it is possible, README.md of the repository says so.
func neverRows() []neverRow {
	var (
		no      = [5]neverAnswer{}
		below   = admitted("found below `/.trowel`")
		shared  = admitted("both are root's")
		network = admitted("it has the container's network")
		getOut  = [5]neverAnswer{3: {possible: true, why: "there is nothing to get out of"}}
		plugin  = [5]neverAnswer{4: {possible: true, why: "the builder has no right that RUN lacks"}}
		device  = [5]neverAnswer{{}, {possible: true, why: onlyContainer}, {possible: true, why: onlyContainer}, {why: "by the container"}, {why: "by the container"}}
	)
	for i := range 3 { // what else keeps a process from others in its PID or network namespace
		network[i].before = "6.12"
	}
	watched, signals := no, shared
	for i := range 2 {
		watched[i+1].before, signals[i+1].before = "6.12", "6.12"
	}
	return []neverRow{
		{"the builder's environment", "`/proc/PID/environ`", "environ", "", no},
		{"", "what is inherited", "inherited", "", no},
		{"the builder's memory", "`/proc/PID/mem`", "mem", "", no},
		{"", "process_vm_readv", "vm", "", no},
		{"", "ptrace", "ptrace", "", no},
		{"the builder's descriptors", "`/proc/PID/fd`", "fd", "", no},
		{"", "pidfd_getfd", "pidfd", "", no},
		{"", "one that leaked into the builder", "leaked", "", no},
		{"", "WORKDIR `/proc/self/fd/N`, `/proc/PID/fd/N`, `/proc/PID/cwd`", "workdir", "", no},
		{"credentials", "a file with credentials", "read", "credential", no},
		{"", "all that any process has open", "open files", "credential", no},
		{"sockets", "a socket in the work directory", "connect", "", below},
		{"", "an abstract socket", "abstract", "", network},
		{"plugins that are processes", "`/proc/PID/environ`", "environ", "plugin", plugin},
		{"", "`/proc/PID/mem`", "mem", "plugin", plugin},
		{"", "process_vm_readv", "vm", "plugin", plugin},
		{"", "ptrace", "ptrace", "plugin", plugin},
		{"", "`/proc/PID/fd`", "fd", "plugin", plugin},
		{"", "pidfd_getfd", "pidfd", "plugin", no},
		{"", "a signal", "signal", "plugin", signals},
		{"the cache", "to read it", "read", "cache", below},
		{"", "to write to it", "write", "cache", below},
		{"leave a process behind", "in a session of its own", "stay", "", no},
		{"", "and kill what watches over it", "orphan", "", watched},
		{"leave its root file system", "a file outside, to read", "read", "outside", below},
		{"", "a file outside, to write to", "write", "outside", below},
		{"", "chroot in the chroot", "chroot", "", getOut},
		{"", "chroot with a descriptor of the old root", "descriptor", "", getOut},
		{"", "`/proc/PID/root` of the builder, of its parent, of process 1", "proc root", "", no},
		{"", "`..` from directories of `/proc`", "proc climb", "", below},
		{"", "the builder's mount namespace", "setns", "", no},
		{"", "a file by its handle", "handle", "", no},
		{"", "a mount", "mount", "", no},
		{"", "a device node that it makes", "device", "", device},
		{"", "a mount point in the image that is a link to the outside", "symlink mount", "", no},
		{"", "`/dev` in the image that is one", "symlink dev", "", no},
		{"see another stage", "its directory", "read", "stage", below},
		{"signal the builder", "kill", "signal", "", signals},
		{"", "pidfd_send_signal", "pidfd kill", "", signals},
	}
}

const onlyContainer = "unless the container refuses"

// admitted is possible in place, and in no other way.
func admitted(why string) [5]neverAnswer {
	a := neverAnswer{possible: true, why: why}
	return [5]neverAnswer{3: a, 4: a}
}
