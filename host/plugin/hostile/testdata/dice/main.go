// Program dice tells the time and throws dice, by which one can see whether either can be foretold.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{
		Name:        "dice",
		Credential:  func(context.Context, *sdk.Config) (sdk.CredentialProvider, error) { return dice{}, nil },
		Cache:       func(context.Context, *sdk.Config) (sdk.CacheReader, error) { return dice{}, nil },
		Instruction: func(context.Context, *sdk.Config) (sdk.InstructionHandler, error) { return dice{}, nil },
	})
}

func throw() string {
	dice := make([]byte, 16)
	rand.Read(dice)
	return strconv.FormatInt(time.Now().Unix(), 10) + " " + hex.EncodeToString(dice)
}

type dice struct{}

// Credential implements [sdk.CredentialProvider].
func (dice) Credential(context.Context, sdk.CredentialRequest) (sdk.Credential, error) {
	return sdk.Credential{Kind: sdk.KindBasic, Username: throw(), Secret: "none"}, nil
}

// GetRecords implements [sdk.RecordStore].
func (dice) GetRecords(_ context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	return []sdk.Record{{Key: keys[0], Value: []byte(throw())}}, nil
}

// PutRecords implements [sdk.RecordStore].
func (dice) PutRecords(context.Context, []sdk.Record) error { return nil }

// StatBlobs implements [sdk.BlobReader].
func (dice) StatBlobs(context.Context, []sdk.Digest) ([]sdk.Blob, error) { return nil, nil }

// GetBlob implements [sdk.BlobReader].
func (dice) GetBlob(context.Context, sdk.Digest) (sdk.Content, error) {
	return sdk.Content{}, sdk.ErrNotFound
}

// Describe implements [sdk.InstructionHandler].
func (dice) Describe(context.Context) ([]sdk.Instruction, error) {
	return []sdk.Instruction{{Keyword: "DICE"}}, nil
}

// Plan implements [sdk.InstructionHandler].
func (dice) Plan(context.Context, sdk.Call) (sdk.Plan, error) {
	return sdk.Plan{Notes: []string{throw()}}, nil
}
