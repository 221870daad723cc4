// Command early is a cache of the scenarios that asks a server something when it starts.
package main

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() { plugin.Main(sdk.Plugin{Name: "early", Version: "1", Cache: open}) }

func open(ctx context.Context, c *sdk.Config) (sdk.CacheReader, error) {
	hello, store := c.Required("hello"), c.Required("store")
	if err := c.Err(); err != nil {
		return nil, err
	}
	answers, err := sdk.HTTP(ctx, sdk.HTTPRequest{Method: "GET", URL: hello})
	if err == nil && answers[0].Error != nil {
		err = answers[0].Error
	}
	if err != nil {
		return nil, err
	}
	if status := answers[0].Status; status != 200 {
		return nil, &sdk.Error{Code: sdk.CodeUnavailable, Message: "the server answered " + strconv.Itoa(status)}
	}
	return objects.Store{Request: func(_, object string) sdk.HTTPRequest { return sdk.HTTPRequest{URL: store + object} }}, nil
}
