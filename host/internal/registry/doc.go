// Package registry talks to image registries: it resolves references, pulls and pushes manifests and blobs, and mounts
// blobs from one repository into another.
//
// A registry is untrusted. What has a digest is verified against it while it streams, answers are capped, a redirect to
// another host carries no credential, and neither a credential nor the query of an address reaches an error.
//
// A registry is also unreliable. Every request is repeated after a passing fault; a blob that breaks off is continued
// where it broke, in both directions; and a token or password that expires on the way is replaced, because the
// keychain is asked again whenever the registry refuses what it was given.
//
// Blobs are pushed while they are still being written: [Client.Push] starts to stream a [Blob] before its digest is
// known and names the digest when the last byte is there.
package registry
