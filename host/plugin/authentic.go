package plugin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

// authenticated is a cache whose records carry a MAC: a record, unlike a blob, has no digest of its own to be checked by,
// and says what layers a build is made of. A record that does not carry the right one is a miss.
type authenticated struct {
	sdk.Cache
	key []byte
}

// GetRecords returns the records that somebody with the key wrote under the keys they are found under.
func (a authenticated) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	found, err := a.Cache.GetRecords(ctx, keys)
	if err != nil {
		return nil, err
	}
	var genuine []sdk.Record
	for _, r := range found {
		if len(r.Value) < sha256.Size {
			continue
		}
		mac, value := r.Value[:sha256.Size], r.Value[sha256.Size:]
		if hmac.Equal(mac, a.mac(r.Key, value)) {
			genuine = append(genuine, sdk.Record{Key: r.Key, Value: value})
		}
	}
	return genuine, nil
}

// PutRecords writes records with their MACs.
func (a authenticated) PutRecords(ctx context.Context, records []sdk.Record) error {
	signed := make([]sdk.Record, len(records))
	for i, r := range records {
		signed[i] = sdk.Record{Key: r.Key, Value: append(a.mac(r.Key, r.Value), r.Value...)}
	}
	return a.Cache.PutRecords(ctx, signed)
}

// mac covers the key with the value, so that a record cannot be moved to where it says something else.
func (a authenticated) mac(key sdk.Key, value []byte) []byte {
	h := hmac.New(sha256.New, a.key)
	h.Write([]byte("trowel record 1\x00"))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(key))))
	h.Write([]byte(key))
	h.Write(value)
	return h.Sum(nil)
}

// minKey is the least length of a key, in bytes: a shorter one can be guessed.
const minKey = 16

// readKey reads the key of a cache's records.
func readKey(from service.SecretSource, getenv func(string) string) ([]byte, error) {
	if err := from.Validate(); err != nil {
		return nil, err
	}
	key := []byte(getenv(from.Env))
	where := "environment variable " + from.Env
	if from.File != "" {
		var err error
		if key, err = os.ReadFile(from.File); err != nil {
			return nil, err
		}
		where = "file " + from.File
	}
	if key = bytes.TrimSpace(key); len(key) < minKey {
		return nil, fmt.Errorf("%s has %d bytes: a key has at least %d", where, len(key), minKey)
	}
	return key, nil
}
