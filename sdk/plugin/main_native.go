//go:build !wasip1

package plugin

import (
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/process"
)

// Main serves p to the host that runs the program.
func Main(p sdk.Plugin) { process.Main(p) }
