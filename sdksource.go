// Package trowel carries the source of Trowel's SDK inside the program, so that `trowel plugin new` works without a network:
// an author's plugin is built with exactly the contract that this Trowel speaks.
//
// It is at the root of the module because a package can embed only what is below it, and sdk itself must not carry its own
// source into every plugin.
package trowel

import (
	"embed"
	"io/fs"
)

//go:embed sdk/*.go sdk/abi/*.go sdk/guest/*.go sdk/guest/*.s sdk/objects/*.go sdk/plugin/*.go sdk/plugintest/*.go sdk/process/*.go sdk/process/wire/*.go
//go:embed sdk/c/trowel.h sdk/rust/trowel.rs sdk/assemblyscript/trowel.ts
var source embed.FS

// SDK is the tree below the module's root that holds the SDK: "sdk/cache.go", "sdk/c/trowel.h" and so on.
func SDK() fs.FS { return source }
