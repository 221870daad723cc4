// Program noise prints to standard output before it serves, where the host expects the handshake.
package main

import (
	"context"
	"fmt"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	fmt.Println("loading config…")
	asked.Main("noise", func(context.Context, string) (string, error) { return "served", nil })
}
