// Command trowel builds container images from Dockerfiles, without a daemon and without privileges that it does not need.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/trowel-build/trowel/host"
)

func main() {
	os.Exit(start(host.NewLauncher())) // which does not return in the process of a RUN
}

// start runs the command line of this process.
func start(launcher *host.Launcher) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := host.Harden(); err != nil {
		fmt.Fprintf(os.Stderr, "trowel: error: %v\n", err)
		return exitFailed
	}
	if err := host.Recover(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "trowel: error: put the container in order after a killed build: %v\n", err)
		return exitFailed
	}
	return run(ctx, asKaniko(os.Args[0], os.Args[1:]), program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, launcher: launcher})
}
