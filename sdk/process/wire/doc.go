// Package wire is what the two ends of a plugin that is a process share: frames as bytes, and the windows that bound what a
// stream may have on its way. The file trowel.proto in the folder above says what frames mean.
package wire
