// Command cache is a plugin for Trowel: a cache on any web server that takes PUT, GET and HEAD. The README runs it.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() { plugin.Main(sdk.Plugin{Name: "cache", Version: "1.0.0", Cache: newCache}) }

func newCache(_ context.Context, config *sdk.Config) (sdk.CacheReader, error) {
	url := config.Required("url")
	return objects.Store{Request: func(_, object string) sdk.HTTPRequest {
		return sdk.HTTPRequest{URL: url + "/" + object}
	}}, config.Err()
}
