// Package buildcontext opens a directory as a build context: the files that COPY and ADD may read, behind its ignore file.
//
// A context is untrusted. Everything below its root is reached by descriptor and without following a symlink, so that no
// file outside of it is ever read, whatever happens to the directory meanwhile. Symlinks that a Dockerfile names are
// followed by text, inside the root, as BuildKit does.
//
//	bc, err := buildcontext.Open(ctx, ".", buildcontext.Options{})
//	df, err := bc.Dockerfile(ctx)
//	tree, err := bc.Tree(ctx, []string{"src", "go.*"})   // only what the Dockerfile names
//	err = bc.Digests(ctx, changes)                        // only what is really copied
//
// All of it is owned by 0:0 in the tree, whoever owns it on disk. Modes, times, symlinks, hardlinks, devices and FIFOs are
// kept; a socket becomes an empty file. File capabilities are kept where they can be read.
package buildcontext
