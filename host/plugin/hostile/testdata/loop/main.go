// Program loop never comes to an end: when it is asked, or before it can be.
package main

import (
	"context"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/plugin"
)

func main() {
	plugin.Main(sdk.Plugin{
		Name:       "loop",
		Credential: func(_ context.Context, c *sdk.Config) (sdk.CredentialProvider, error) { return open(c) },
		Cache:      func(_ context.Context, c *sdk.Config) (sdk.CacheReader, error) { return open(c) },
	})
}

type loop struct{ turns int }

func open(config *sdk.Config) (*loop, error) {
	l := &loop{}
	if config.Bool("at-start", false) {
		l.spin()
	}
	return l, config.Err()
}

func (l *loop) spin() {
	for l.turns = 0; l.turns >= 0; l.turns = (l.turns + 1) & 0xffff {
	}
}

// Credential implements [sdk.CredentialProvider].
func (l *loop) Credential(context.Context, sdk.CredentialRequest) (sdk.Credential, error) {
	l.spin()
	return sdk.Credential{}, nil
}

// GetRecords implements [sdk.RecordStore].
func (l *loop) GetRecords(context.Context, []sdk.Key) ([]sdk.Record, error) {
	l.spin()
	return nil, nil
}

// PutRecords implements [sdk.RecordStore].
func (l *loop) PutRecords(context.Context, []sdk.Record) error {
	l.spin()
	return nil
}

// StatBlobs implements [sdk.BlobReader].
func (l *loop) StatBlobs(context.Context, []sdk.Digest) ([]sdk.Blob, error) {
	l.spin()
	return nil, nil
}

// GetBlob implements [sdk.BlobReader].
func (l *loop) GetBlob(context.Context, sdk.Digest) (sdk.Content, error) {
	l.spin()
	return sdk.Content{}, nil
}
