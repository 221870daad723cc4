// Program sleeper sleeps longer than anybody waits.
package main

import (
	"context"
	"time"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	asked.Main("sleeper", func(context.Context, string) (string, error) {
		time.Sleep(time.Hour)
		return "awake", nil
	})
}
