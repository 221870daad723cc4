// Package bucket keeps a cache in a bucket of Amazon S3 or of a server that speaks its protocol. A record is an object, and
// so is a blob:
//
//	PREFIX/records/KEY          '/' in the key is '_' and ':' is '~', so that no key is a directory of another
//	PREFIX/blobs/sha256/SUM
//
// Bytes of blobs do not come here: the host moves them by URLs that it signed for us. Neither does the secret key: the host
// signs requests, too.
//
//	settings.go  what the user configured      address.go  URLs
//	request.go   the requests of records and blobs, which package objects makes
//	upload.go    blobs into the bucket
//	fault.go     what the server's errors mean xml.go      the little XML there is
package bucket
