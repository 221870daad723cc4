// Program bomb takes all the memory that it can get.
package main

import (
	"context"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	var kept [][]byte
	asked.Main("bomb", func(_ context.Context, question string) (string, error) {
		for question == "explode" {
			block := make([]byte, 1<<20)
			for i := range block {
				block[i] = 1
			}
			kept = append(kept, block)
		}
		return "calm", nil
	})
}
