// Package artifact brings plugins from where they are kept to where they run: registries, files, and what is built in.
//
// In a registry a Wasm plugin is exactly what the CNCF's "Wasm OCI Artifact layout" says, so that other tools can use it;
// a native one is an index with a manifest for each platform. What is pulled may have other forms as well. A tag is looked
// up by [Client.Install] alone; [Client.Resolve], which a build calls, knows digests only, so that it does not matter from
// which mirror, or from where on disk, the bytes come.
//
//	client.go   the client             layout.go   what is in a registry, and in which form
//	push.go     programs → registry    pull.go     registry or store → programs
//	unwrap.go   a layer → a program    sign.go     keys and signatures      policy.go   which ones are wanted
//	install.go  source → lock entry    resolve.go  lock entry → program
package artifact
