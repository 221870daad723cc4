// Package process serves a plugin as a process. Authors call sdk/plugin.Main, which calls [Main] where the plugin is not
// built for Wasm.
//
// The process speaks the protocol of HashiCorp's go-plugin, as trowel.proto describes it, with the standard library alone:
// a plugin's module needs nothing but Trowel's sdk.
//
// To run a plugin under a debugger, start it by hand with a socket to serve, in a directory of its own, and tell Trowel
// to use that instead of starting it:
//
//	TROWEL_PLUGIN_SERVE=/tmp/debug/s3.sock dlv debug .
//
// The directory is made if there is none, and must not be accessible to others; only processes of the same user may
// connect. The plugin then reads standard input and writes standard output as any program does, and ends when it is
// interrupted.
//
//	serve.go     how the process was started, and what that means
//	spawned.go   started by Trowel: handshake, lifeline          byhand.go   started by hand
//	grpc.go      gRPC over net/http                              tls.go      the certificate
//	session.go   the one gRPC method: frames in and out
//	call.go      one call: the host as the plugin sees it, streams
//	wire/        the frames as bytes; Trowel uses it too
package process
