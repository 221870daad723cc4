// Command jsonnet is a Trowel plugin: the instruction JSONNET evaluates a template of the build context and writes what it
// comes to into the image.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{
		Name: "jsonnet", Version: "1.0.0",
		Instruction: func(_ context.Context, config *sdk.Config) (sdk.InstructionHandler, error) {
			return newHandler(config)
		},
	})
}
