// Package e2e builds with trowel and with BuildKit, upon a real Debian base and through a real registry, and demands the same
// images; has BuildKit build the corpus of testdata/dockerfiles, to write its golden files or to check them; and tries
// plugins, caches and credentials against real services. It is all tests, behind the build tag e2e; it needs root on a Debian
// machine and brings the rest itself:
//
//	go test -tags e2e -timeout 40m ./testdata/e2e
//
// With -subject=buildkit or -subject=buildah another builder takes the place of trowel: BuildKit against itself has
// to pass, which shows that a case has one answer.
package e2e
