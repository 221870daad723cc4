// Program flood answers, logs and prints without end. It deals with bytes, below package sdk.
package main

import (
	"bytes"
	"context"
	"os"
	"strings"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
	"github.com/trowel-build/trowel/sdk/guest"
)

func main() { guest.Serve(handle) }

func handle(ctx context.Context, host abi.Host, op abi.Op, request []byte) []byte {
	line := strings.Repeat("flood ", 20) + "\n"
	switch {
	case op == abi.OpHello:
		return []byte(`{"ok":{"name":"flood","kinds":["credential"]}}`)
	case bytes.Contains(request, []byte("answer")):
		return bytes.Repeat([]byte{' '}, abi.MaxResponse+1)
	case bytes.Contains(request, []byte("log")):
		for range 20_000 {
			host.Log(ctx, sdk.LevelWarning, line)
		}
	case bytes.Contains(request, []byte("print")):
		for range 20_000 {
			os.Stdout.WriteString(line)
		}
	}
	return []byte(`{"ok":{"kind":"basic","username":"done","secret":"none"}}`)
}
