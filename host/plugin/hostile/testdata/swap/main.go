// Program swap is what the user installed, and what somebody replaces between the check and the start.
package main

import (
	"context"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	asked.Main("swap", func(context.Context, string) (string, error) { return "genuine", nil })
}
