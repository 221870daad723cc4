// Program orphan starts a child, and would like both of them to live on when the host is killed.
package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"time"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	if len(os.Args) > 1 {
		signal.Ignore()
		time.Sleep(time.Hour)
	}
	asked.Main("orphan", func(context.Context, string) (string, error) {
		child := exec.Command("/proc/self/exe", "child")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err != nil {
			return "", err
		}
		return strconv.Itoa(os.Getpid()) + " " + strconv.Itoa(child.Process.Pid), nil
	})
}
