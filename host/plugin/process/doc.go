// Package process runs a plugin as a process: what cannot be built for Wasm, and is trusted as much as the user is.
//
// The protocol is that of HashiCorp's go-plugin, over gRPC with mutual TLS, so that a plugin can be written with go-plugin
// itself, with Trowel's sdk/process, or in any language that has gRPC: see sdk/process/trowel.proto. What go-plugin leaves
// open is closed here.
//
//   - The bytes that run are the bytes whose digest was checked: a sealed file in memory, or where the machine forbids to
//     execute one, a file in a private directory. What happens to the file of the plugin meanwhile does not matter.
//   - The environment is what go-plugin's protocol needs and what was granted; there is no PATH. Standard input is empty, no
//     other descriptor is inherited, the working directory is "/", and no program that the plugin starts gains privileges.
//   - The process leads a group of its own, which is killed as a whole when the plugin has ended, in whatever way. It ends
//     with the host, however that ends: by a pipe that the sdk watches to end the whole group, or else by the kernel
//     (PDEATHSIG), which ends the one process. Only a process that leaves the group on purpose is not found.
//   - It writes no core dump, and the sdk makes it undumpable: no other process of the user reads its memory.
//   - The socket is a file in a directory of mode 0700, which belongs outside every root file system of the build, and takes
//     no connection but the host's.
//
// Memory is bounded in two ways, since a cgroup can rarely be had in a container: GOMEMLIMIT tells Go's collector to stay
// below the limit, and the host looks at the process often and kills it beyond. Its children are not counted. The kernel,
// out of memory, ends the plugin before the host.
//
// There is one process, which answers several calls at once. If it ends, or has to be killed because it neither answered nor
// let itself be cancelled, the calls in progress fail, and the next call starts it again, a few times.
//
//	plugin.go    Plugin: start, call, start again, close      gate.go     who may call now; pausing
//	instance.go  one life of a plugin, over go-plugin         attach.go   a plugin that the user started, for debugging
//	program.go   the bytes that run                           runner.go   the process and its group
//	output.go    what it prints                               memory.go   how much memory it has
//	session.go   frames over one gRPC stream                  call.go     one call
//	stream.go    its streams
package process
