// Program compiled writes into the directory in which the host keeps the machine code that it makes of modules.
package main

import (
	"context"
	"os"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	asked.Main("compiled", func(_ context.Context, dir string) (string, error) {
		if dir == "" {
			return "answered", nil
		}
		if err := os.WriteFile(dir+"/entry", []byte("machine code"), 0o600); err != nil {
			return "", err
		}
		return "written", nil
	})
}
