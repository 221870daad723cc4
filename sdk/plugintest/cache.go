package plugintest

import (
	"slices"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

// Cache checks that what open makes is a cache as [sdk.Cache] describes it. open is called once a check and answers with
// an empty cache; what has to be closed it hands to t.Cleanup.
//
// A cache may take the host's word that the file in [sdk.Content.File] has the digest it is put under, as long as its
// length is right: the host computed the digest while it wrote the file. What comes from [sdk.Content.Open] it checks.
func Cache(t *testing.T, open func(t *testing.T) sdk.Cache) {
	t.Helper()
	runChecks(t, open, slices.Concat(recordChecks(), blobChecks(), refusalChecks()))
}

// Records checks the half of [Cache] that is about records.
func Records(t *testing.T, open func(t *testing.T) sdk.RecordStore) {
	t.Helper()
	runChecks(t, func(t *testing.T) sdk.Cache {
		return struct {
			sdk.RecordStore
			sdk.BlobStore
		}{RecordStore: open(t)}
	}, recordChecks())
}

// Blobs checks the half of [Cache] that is about blobs.
func Blobs(t *testing.T, open func(t *testing.T) sdk.BlobStore) {
	t.Helper()
	runChecks(t, func(t *testing.T) sdk.Cache {
		return struct {
			sdk.RecordStore
			sdk.BlobStore
		}{BlobStore: open(t)}
	}, slices.Concat(blobChecks(), refusalChecks()))
}
