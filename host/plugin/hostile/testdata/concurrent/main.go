// Program concurrent notices when it is asked something while it answers something else.
package main

import (
	"context"
	"errors"
	"time"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	busy := ""
	asked.Main("concurrent", func(_ context.Context, question string) (string, error) {
		if busy != "" {
			return "", errors.New("asked " + question + " while it answers " + busy)
		}
		busy = question
		time.Sleep(5 * time.Millisecond)
		answer := busy
		busy = ""
		return answer, nil
	})
}
