// Program good does what it should: it is asked after every mischief whether the host still works.
package main

import (
	"context"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	asked.Main("good", func(_ context.Context, question string) (string, error) { return "good " + question, nil })
}
