// Package hostile has plugins that do what a plugin must not, in testdata, and the tests that show what becomes of each: one
// for every pitfall of plugin hosts that we know of. The table in ../README.md is made of a run of these tests:
//
//	go test ./host/plugin/hostile -update
package hostile
