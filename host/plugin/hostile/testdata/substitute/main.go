// Program substitute lies where the program was that the user had installed.
package main

import (
	"context"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	asked.Main("good", func(context.Context, string) (string, error) { return "substituted", nil })
}
