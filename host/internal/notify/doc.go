// Package notify answers system calls of other processes: a seccomp filter stops them, and whoever holds the filter's
// listener decides what they return.
//
// A caller waits in the kernel until its request is answered. The kernel reads a path argument again if the answer is
// [Listener.Continue], and by then another thread may have written another path there: letting a call go on never decides
// what a process may do.
package notify
