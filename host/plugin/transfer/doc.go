// Package transfer moves blobs as a plugin planned it: the plugin says which requests move a blob, and the host makes them,
// at full speed, with retries. One [Engine] moves the blobs of every backend; [Cache] makes of it and of a plugin what the
// core knows as a cache.
//
//	engine.go   the engine and its settings        buffers.go  the memory that all transfers share
//	plan.go     what makes a plan acceptable       lease.go    a plan that is replaced when it expires
//	get.go      the requests of a download         segment.go  a range that resumes after a cut
//	reader.go   ranges in parallel, read in order  verify.go   size and digest
//	put.go      an upload, round by round          source.go   where its bytes come from
//	request.go  one request and its refusal        retry.go    when to try again
//	cache.go    a plugin and the engine as an sdk.Cache
package transfer
