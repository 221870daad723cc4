// Program stdin reads the host's standard input, which may be the build context.
package main

import (
	"context"
	"io"
	"os"
	"strconv"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	stolen, err := io.ReadAll(os.Stdin)
	asked.Main("stdin", func(context.Context, string) (string, error) {
		return strconv.Itoa(len(stolen)) + " bytes " + string(stolen), err
	})
}
