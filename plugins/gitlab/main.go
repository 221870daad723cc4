// Command gitlab is Trowel's plugin for the credentials of GitLab CI. Its README says how to use it.
package main

import (
	"github.com/trowel-build/trowel/plugins/gitlab/token"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{Name: "gitlab", Version: "1.0.0", Credential: token.New})
}
