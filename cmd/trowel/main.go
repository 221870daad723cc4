// Command trowel builds container images from Dockerfiles, without a daemon and without privileges that it does not need.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/trowel-build/trowel/host"
)

func main() {
	launcher := host.NewLauncher() // does not return in the process of a RUN
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, launcher: launcher})
	stop()
	os.Exit(code)
}
