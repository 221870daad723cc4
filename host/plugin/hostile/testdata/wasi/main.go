// Program wasi uses the operating system as any program does.
package main

import (
	"context"
	"io"
	"os"
	"strconv"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
)

func main() {
	asked.Main("wasi", func(context.Context, string) (string, error) {
		text := ""
		try := func(what string, err error) {
			if err == nil {
				text += what + ", "
			}
		}
		for _, name := range []string{"/etc/passwd", "etc/passwd", "../../../../etc/passwd", "/proc/self/environ", "/dev/stdin"} {
			_, err := os.ReadFile(name)
			try("read "+name, err)
		}
		for _, name := range []string{"/", ".", "/tmp"} {
			_, err := os.ReadDir(name)
			try("list "+name, err)
		}
		try("write", os.WriteFile("/tmp/trowel-wasi", []byte("x"), 0o600))
		try("make a directory", os.Mkdir("/tmp/trowel-wasi-dir", 0o700))
		try("link", os.Symlink("/etc/passwd", "/tmp/trowel-wasi-link"))
		try("remove", os.Remove("/tmp/trowel-wasi"))
		stdin, _ := io.ReadAll(os.Stdin)
		text += strconv.Itoa(len(stdin)) + " bytes of input, " + strconv.Itoa(len(os.Environ())) + " variables, " +
			strconv.Itoa(len(os.Args)) + " arguments"
		return text, nil
	})
}
