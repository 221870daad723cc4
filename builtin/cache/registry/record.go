package registry

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

const (
	// tagPrefix tells records from whatever else the repository has.
	tagPrefix = "trowel-"
	maxKey    = 200
	maxValue  = 1 << 20

	manifestType = "application/vnd.oci.image.manifest.v1+json"
	artifactType = "application/vnd.trowel.cache.record.v1"
	emptyType    = "application/vnd.oci.empty.v1+json"
	blobType     = "application/octet-stream"

	keyAnnotation     = "dev.trowel.cache.key"
	valueAnnotation   = "dev.trowel.cache.value"
	createdAnnotation = "org.opencontainers.image.created"
)

// emptyBlob is the blob that the OCI's image specification has for "nothing".
const emptyBlob = "{}"

// descriptor is a blob as manifests have it.
type descriptor struct {
	MediaType string     `json:"mediaType"`
	Digest    sdk.Digest `json:"digest"`
	Size      int64      `json:"size"`
}

// manifest is a record as the registry keeps it.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

// validScope is what leaves room for the rest of a tag, which may have 128 characters.
var validScope = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,55}$`)

func (c *Cache) tagOf(key sdk.Key) string {
	sum := sha256.Sum256([]byte(key))
	return c.prefix + hex.EncodeToString(sum[:])
}

var validKey = regexp.MustCompile(`^[a-z0-9/:-]+$`)

func checkKey(key sdk.Key) error {
	if len(key) > maxKey || !validKey.MatchString(string(key)) {
		return errors.New("it is no key: only lower-case letters, digits, '-', '/' and ':' are allowed, at most 200")
	}
	return nil
}

// GetRecords asks for all records at once. What is no record of that key, or too old, is not held.
func (c *Cache) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var mu sync.Mutex
	var records []sdk.Record
	wanted := slices.Compact(slices.Sorted(slices.Values(keys)))
	wanted = slices.DeleteFunc(wanted, func(k sdk.Key) bool { return checkKey(k) != nil })
	err := each(ctx, wanted, func(ctx context.Context, key sdk.Key) error {
		raw, err := c.repository.Manifest(ctx, c.tagOf(key))
		if errors.Is(err, sdk.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("get record %q: %w", key, err)
		}
		r, ok := c.read(key, raw)
		if !ok {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		records = append(records, r)
		return nil
	})
	return records, err
}

// read reads a record and takes note of its blobs, which the registry would not have taken it without.
func (c *Cache) read(key sdk.Key, raw []byte) (sdk.Record, bool) {
	var m manifest
	if json.Unmarshal(raw, &m) != nil || m.ArtifactType != artifactType || m.Annotations[keyAnnotation] != string(key) {
		return sdk.Record{}, false
	}
	value, err := base64.StdEncoding.DecodeString(m.Annotations[valueAnnotation])
	if err != nil || len(value) > maxValue {
		return sdk.Record{}, false
	}
	created, err := time.Parse(time.RFC3339, m.Annotations[createdAnnotation])
	if c.maxAge > 0 && (err != nil || c.now().Sub(created) > c.maxAge) {
		return sdk.Record{}, false
	}
	for _, l := range m.Layers {
		if validDigest.MatchString(string(l.Digest)) && l.Size >= 0 {
			c.know(sdk.Blob{Digest: l.Digest, Size: l.Size})
		}
	}
	return sdk.Record{Key: key, Value: value}, true
}

// PutRecords stores all records at once. Of two under one key the later counts.
func (c *Cache) PutRecords(ctx context.Context, records []sdk.Record) error {
	last := map[sdk.Key]int{}
	for i, r := range records {
		if err := checkKey(r.Key); err != nil {
			return fmt.Errorf("put record %.40q: %w", r.Key, err)
		}
		if len(r.Value) > maxValue {
			return fmt.Errorf("put record %q: it has %d bytes, and may have %d", r.Key, len(r.Value), maxValue)
		}
		last[r.Key] = i
	}
	if len(records) == 0 {
		return nil
	}
	empty := blobOf([]byte(emptyBlob))
	if _, ok := c.known(empty.Digest); !ok {
		if err := c.PutBlob(ctx, empty, inMemory([]byte(emptyBlob))); err != nil {
			return err
		}
	}
	current := make([]sdk.Record, 0, len(last))
	for i, r := range records {
		if last[r.Key] == i {
			current = append(current, r)
		}
	}
	return each(ctx, current, func(ctx context.Context, r sdk.Record) error {
		raw, err := json.Marshal(c.manifestOf(r, empty))
		if err == nil {
			err = c.repository.PutManifest(ctx, c.tagOf(r.Key), manifestType, raw)
		}
		if err != nil {
			return fmt.Errorf("put record %q: %w", r.Key, err)
		}
		return nil
	})
}

// named finds the digests in a value, whatever its form is.
var named = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// manifestOf is a record as a manifest. Of the digests that the value names some are no blobs, such as diff IDs.
func (c *Cache) manifestOf(r sdk.Record, empty sdk.Blob) manifest {
	m := manifest{
		SchemaVersion: 2, MediaType: manifestType, ArtifactType: artifactType, Config: descriptor{emptyType, empty.Digest, empty.Size},
		Annotations: map[string]string{
			keyAnnotation: string(r.Key), valueAnnotation: base64.StdEncoding.EncodeToString(r.Value),
			createdAnnotation: c.now().UTC().Format(time.RFC3339),
		},
	}
	for _, digest := range slices.Compact(slices.Sorted(slices.Values(named.FindAllString(string(r.Value), -1)))) {
		if b, ok := c.known(sdk.Digest(digest)); ok {
			m.Layers = append(m.Layers, descriptor{blobType, b.Digest, b.Size})
		}
	}
	if len(m.Layers) == 0 { // which the specification advises against
		m.Layers = append(m.Layers, descriptor{emptyType, empty.Digest, empty.Size})
	}
	return m
}
