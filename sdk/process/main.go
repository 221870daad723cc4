package process

import (
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Main serves a plugin until the host says that it is done, and ends the process.
func Main(p sdk.Plugin) {
	Serve(p.Name, func() Handler { return abi.NewServer(p).Handle })
}
