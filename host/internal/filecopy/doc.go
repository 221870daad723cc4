// Package filecopy decides what COPY, ADD and WORKDIR do to a file tree. It is a pure function of trees: [Plan] takes the
// destination, the sources and what the instruction says, and returns the entries of the layer to be.
//
// What a copy means is what BuildKit makes of it, rule by rule; where BuildKit's result depends on the time of the build
// (directories that a copy has to make), the time is [Spec.ModTime] instead. Three things that BuildKit lets pass are
// errors: several files to one name, a malformed wildcard, and a file whose name would be a deletion mark in a layer.
//
// Only [FindArchives] reads: it looks into the files that ADD names and indexes the archives among them.
package filecopy
