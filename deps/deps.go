// Package deps keeps requirements while work is going on.
package deps

import (
	_ "github.com/google/go-jsonnet"
	_ "github.com/hashicorp/go-hclog"
	_ "github.com/hashicorp/go-plugin"
	_ "github.com/santhosh-tekuri/jsonschema/v6"
	_ "github.com/tetratelabs/wazero"
	_ "google.golang.org/grpc"
)
