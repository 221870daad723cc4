// Command shell is all that the scenarios' base image has: /bin/sh and what it calls.
package main

import (
	"os"

	"github.com/trowel-build/trowel/testdata/box"
)

func main() { os.Exit(box.Main()) }
