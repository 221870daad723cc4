// Program recursion calls itself, and is never done.
package main

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	asked.Main("recursion", func(context.Context, string) (string, error) { return strconv.Itoa(deeper(0)), nil })
}

func deeper(n int) int {
	var frame [1 << 10]byte
	frame[n%len(frame)] = byte(deeper(n + 1))
	return int(frame[n%len(frame)])
}
