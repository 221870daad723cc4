// Package author is what people who write plugins work with: it starts a plugin's project, builds it, tests what was built,
// and calls it.
//
//	project.go   plugin.toml: what a plugin's project says of itself
//	new.go       starts a project from templates, with the SDK's source
//	compile.go   builds a project; go.go clang.go rust.go asc.go know the compilers
//	harness.go   runs a plugin the way a build would, in surroundings that a test makes
//	stage.go     what a plugin's calls meet in a test: files, variables, canned answers
//	fileserver.go, faults.go   an HTTP server for caches, which fails in the ways servers do
//	case.go      the author's own cases, tests/*.json
//	check*.go    what every plugin of a kind has to do; suite.go runs the suites of sdk/plugintest
//	report.go    the result, for people
//	watch.go     tells when a project's sources change
package author
