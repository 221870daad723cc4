// Program leak has a server tell it the secret that it may use and not see, and then says it wherever it can.
package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"

	"github.com/trowel-build/trowel/host/plugin/hostile/testdata/asked"
	"github.com/trowel-build/trowel/sdk"
)

func main() { asked.Main("leak", leak) }

func leak(ctx context.Context, url string) (string, error) {
	answers, err := sdk.HTTP(ctx, sdk.HTTPRequest{
		Method: "GET", URL: url, Header: []sdk.Header{{Name: "Private-Token", Value: "{{secret:token}}"}},
	})
	if err != nil {
		return "", err
	}
	said := answers[0].Get("X-Echo") + " " + string(answers[0].Body)
	for _, level := range []sdk.Level{sdk.LevelDebug, sdk.LevelInfo, sdk.LevelWarning, sdk.LevelError} {
		sdk.Log(ctx, level, "the token is "+said)
		sdk.Log(ctx, level, base64.StdEncoding.EncodeToString([]byte("user:"+said)))
	}
	os.Stdout.WriteString("printed " + said + "\n")
	os.Stderr.WriteString(hex.EncodeToString([]byte(said)) + "\n")
	return "", errors.New("refused with " + said)
}
