// Program greedy uses what its manifest asks for, as if to ask were to have.
package main

import (
	"context"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
	"github.com/trowel-build/trowel/sdk"
)

func main() {
	asked.Main("greedy", func(ctx context.Context, question string) (string, error) {
		switch question {
		case "env":
			return sdk.Env(ctx, "TROWEL_TEST_CANARY")
		case "secret":
			_, err := sdk.Sign(ctx, sdk.SignRequest{Method: sdk.SignHMAC, Secret: "key", Data: []byte("x")})
			return "signed", err
		}
		answers, err := sdk.HTTP(ctx, sdk.HTTPRequest{Method: "GET", URL: question})
		if err == nil && answers[0].Error != nil {
			err = answers[0].Error
		}
		return "answered", err
	})
}
