// Package e2e builds Dockerfiles with trowel and with BuildKit, upon a real Debian base and through a real registry,
// and demands the same images. It is all tests, behind the build tag e2e; it needs root on a Debian machine and
// brings the rest itself:
//
//	go test -tags e2e -timeout 40m ./testdata/e2e
//
// Each cases/*.txtar is a build context. Its comment holds directives, one a line, and remarks after '#':
//
//	build-arg: NAME=value    given to both builders
//	target: stage            likewise
//	error: pattern           the build must fail, and the subject's message match the regular expression
//
// "@DEBIAN@" in a Dockerfile is the base image, "@BARE@" the same without environment and with annotations, and
// "@PARENT@" an image that BuildKit made of parent/Dockerfile.
// Every file is given the time of fixedTime; then setup.sh is run in the context, to make what an archive of text
// cannot hold, and removed.
//
// With -subject=buildkit or -subject=buildah another builder takes the place of trowel: BuildKit against itself has
// to pass, which shows that a case has one answer.
package e2e
