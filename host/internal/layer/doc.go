// Package layer makes layers and reads them.
//
// [Start] turns a list of changes into a layer in one pass: files are read ahead, several at once; their bytes become a
// tar, are hashed for the diff ID, compressed on all cores, hashed again and stored, and whoever uploads the blob reads it
// while it grows. The bytes of a layer depend on nothing but the changes and the compression: not on the number of cores,
// nor on the order in which goroutines ran.
//
// [Read] is the way back: from a compressed layer, which is not trusted, to its diff ID and its [Index], in one pass that
// a [Visitor] can use to unpack the files. A [Source] opens single files of a layer.
package layer
