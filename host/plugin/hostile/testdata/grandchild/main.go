// Program grandchild starts a child that starts another, neither of which heeds a signal, and ends when it is asked to.
package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	if len(os.Args) > 1 {
		signal.Ignore()
		if os.Args[1] == "child" {
			_ = exec.Command("/proc/self/exe", "grandchild").Start() // the test sees if it is not there
		}
		time.Sleep(time.Hour)
	}
	asked.Main("grandchild", func(_ context.Context, question string) (string, error) {
		if question == "exit" {
			os.Exit(0)
		}
		child := exec.Command("/proc/self/exe", "child")
		if err := child.Start(); err != nil {
			return "", err
		}
		for {
			lists, _ := filepath.Glob("/proc/" + strconv.Itoa(child.Process.Pid) + "/task/*/children")
			for _, list := range lists {
				text, _ := os.ReadFile(list)
				for _, pid := range strings.Fields(string(text)) {
					// Go's runtime has children of its own for a moment.
					if line, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasSuffix(string(line), "\x00grandchild\x00") {
						return strconv.Itoa(child.Process.Pid) + " " + pid, nil
					}
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
}
