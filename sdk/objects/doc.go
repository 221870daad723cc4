// Package objects makes a cache of anything that keeps objects under names and is reached by HTTP: a bucket, a registry of
// generic packages, a web server that takes PUT. Its author says what request reaches an object:
//
//	objects.Store{Request: func(method, object string) sdk.HTTPRequest {
//		return sdk.HTTPRequest{URL: "https://cache.example.com/" + object}
//	}}
//
// The rest is done here: keys and sizes are checked, look-ups go in batches, what fails for a reason that passes is tried
// again, no failure is taken for a miss, and blobs are moved by the host.
//
// An object is named
//
//	records/KEY         with '_' for '/' and '~' for ':', so that no key is a directory of another
//	blobs/sha256/SUM
//
// and so has none but characters that stand for themselves in a URL.
package objects
