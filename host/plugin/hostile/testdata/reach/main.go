// Program reach is a plugin whose instruction runs this same program in a step, where it looks for the plugin and for what
// the host keeps: reach attack PID PATH….
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "attack" {
		found := attack(os.Args[2], os.Args[3:])
		fmt.Println("reached: " + strings.Join(found, ", "))
		if len(found) > 0 {
			os.Exit(3)
		}
		return
	}
	h := handler{sockets: os.Getenv("PLUGIN_UNIX_SOCKET_DIR")}
	plugin.Main(sdk.Plugin{Name: "reach", Instruction: func(context.Context, *sdk.Config) (sdk.InstructionHandler, error) { return h, nil }})
}

type handler struct{ sockets string }

// Describe implements [sdk.InstructionHandler].
func (handler) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "REACH", MaxArgs: -1}}, nil
}

// Plan implements [sdk.InstructionHandler].
func (h handler) Plan(_ context.Context, call sdk.Call) (sdk.Plan, error) {
	args := append([]string{"/reach", "attack", strconv.Itoa(os.Getpid()), h.sockets}, call.Args...)
	return sdk.Plan{
		Effects: []sdk.Effect{{Exec: &sdk.Exec{Args: args}}},
		Notes:   []string{strings.Join(args[1:], " ")},
	}, nil
}

// attack tells what it could do.
func attack(pid string, paths []string) (found []string) {
	n, _ := strconv.Atoi(pid)
	if name, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasPrefix(string(name), "trowel-plugin-") {
		found = append(found, "see the plugin")
		if syscall.Kill(n, 0) == nil {
			found = append(found, "signal it")
		}
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			found = append(found, "see "+path)
		}
		sockets, _ := filepath.Glob(filepath.Join(path, "*.sock"))
		for _, socket := range sockets {
			if conn, err := net.Dial("unix", socket); err == nil {
				conn.Close()
				found = append(found, "connect to "+socket)
			}
		}
	}
	return found
}
