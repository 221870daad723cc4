// Program trap ends in the middle of a call, and then hopes to be called again in the state that it is in.
package main

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	calls := 0
	asked.Main("trap", func(_ context.Context, question string) (string, error) {
		calls++
		if question == "trap" {
			panic("half done")
		}
		return "call " + strconv.Itoa(calls), nil
	})
}
