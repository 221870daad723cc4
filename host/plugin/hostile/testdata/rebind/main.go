// Program rebind asks for what is on the host's own machine and network, under whatever name.
package main

import (
	"context"
	"strconv"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
	"github.com/trowel-build/trowel/sdk"
)

func main() {
	asked.Main("rebind", func(ctx context.Context, url string) (string, error) {
		answers, err := sdk.HTTP(ctx, sdk.HTTPRequest{
			Method: "GET", URL: url, Redirect: sdk.RedirectGranted,
			Header: []sdk.Header{{Name: "Authorization", Value: "Bearer mine"}},
		})
		if err != nil {
			return "", err
		}
		if answers[0].Error != nil {
			return "", answers[0].Error
		}
		return strconv.Itoa(answers[0].Status) + " " + string(answers[0].Body), nil
	})
}
