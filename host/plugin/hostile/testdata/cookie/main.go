// Program cookie knows the value by which a plugin recognises its host, and takes that for a right to be spoken to.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	if os.Getenv("TROWEL_PLUGIN") != "5f1c7a70-trowel-plugin-v1" {
		os.Exit(9)
	}
	fmt.Println("1|1|unix|" + os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/plugin.sock|grpc|")
	time.Sleep(time.Hour)
}
