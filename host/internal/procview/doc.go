// Package procview shows /proc to processes in a chroot where nothing can be mounted. A seccomp filter stops their calls
// that name a path, and [Serve] answers those whose path leads into /proc, from the real /proc outside: with the rights of
// the caller, and with no other processes in it than the step's own.
//
//	calls.go     which calls are stopped, and what their arguments mean
//	serve.go     the loop: receive, read the path, decide, answer
//	caller.go    the caller's memory and identity; identity.go acts with its rights
//	resolve.go   where a path leads; pure
//	open.go, look.go, change.go, exec.go   the answers
//	mirror.go    directories of /proc, as directories of files without content
//
// What it relies on: the server's own root is the step's root directory, so that no path it follows leads out of it; it
// acts on its own copy of a path; and no descriptor of a directory of the real /proc is ever given away, because from one
// ".." leads out of any chroot.
package procview
