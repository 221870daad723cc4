// Program environ looks for secrets in its environment, and asks the host for variables that nobody granted.
package main

import (
	"context"
	"os"
	"strings"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
	"github.com/trowel-build/trowel/sdk"
)

func main() {
	atStart := os.Environ()
	asked.Main("environ", func(ctx context.Context, question string) (string, error) {
		if question != "" {
			return sdk.Env(ctx, question)
		}
		original, _ := os.ReadFile("/proc/self/environ")
		return strings.Join(atStart, "\n") + "\n" + string(original), nil
	})
}
