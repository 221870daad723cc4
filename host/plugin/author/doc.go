// Package author is what people who write plugins work with: it starts a plugin's project, builds it, tests what was built,
// and calls it.
//
//	project.go   plugin.toml: what a plugin's project says of itself
//	new.go       starts a project from templates, with the SDK's source
//	compile.go   builds a project; compilers.go knows the languages' compilers
//	subject.go   a plugin that was built: what is tested and called
//	harness.go   runs one as a build would; bench.go with a server and services of its own; memory.go measures it
//	tester.go    runs all checks: check.go those of every kind, check_*.go those of one, suite.go those of sdk/plugintest
//	case.go      the author's own cases, tests/*.json; canned.go is the host as a case has it
//	fileserver.go  an HTTP server for plugins; faults.go has it fail in the ways servers do
//	report.go    the results, for people
//	call.go      asks a plugin one operation
//	watch.go     tells when a project's sources change
package author
