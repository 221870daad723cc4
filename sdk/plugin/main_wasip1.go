package plugin

import (
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/guest"
)

// Main serves p to the host that runs the program.
func Main(p sdk.Plugin) { guest.Main(p) }
