package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

const (
	recordDir = "records"
	// recordMagic starts a record's header: "trowel-record KEY LENGTH SHA256\n". Keys have no spaces.
	recordMagic  = "trowel-record"
	maxKey       = 200
	maxValue     = 1 << 20
	maxHeader    = maxKey + 100
	keyAlphabet  = "abcdefghijklmnopqrstuvwxyz0123456789-/:"
	recordFields = 4
)

// GetRecords returns those of the records that the cache holds. What is damaged is not held.
func (c *Cache) GetRecords(ctx context.Context, keys []sdk.Key) ([]sdk.Record, error) {
	var records []sdk.Record
	seen := map[sdk.Key]bool{}
	for _, key := range keys {
		if err := checkContext(ctx); err != nil {
			return nil, fmt.Errorf("get records: %w", err)
		}
		if seen[key] || checkKey(key) != nil {
			continue
		}
		seen[key] = true
		name := recordName(key)
		record, info, err := c.readRecord(name)
		if errors.Is(err, sdk.ErrNotFound) || (err == nil && record.Key != key) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get record %q: %w", key, err)
		}
		c.touch(name, info.ModTime())
		records = append(records, record)
	}
	return records, nil
}

// Empty says whether the cache holds no records, so that it can answer nothing.
func (c *Cache) Empty() bool {
	names, err := readNames(c.root, recordDir)
	return len(names) == 0 && ignoreNotExist(err) == nil
}

// PutRecords stores the records, each whole or not at all.
func (c *Cache) PutRecords(ctx context.Context, records []sdk.Record) error {
	var bytesPut int64
	for _, r := range records {
		if err := c.putRecord(ctx, r); err != nil {
			return fmt.Errorf("put record %q: %w", abbreviate(string(r.Key)), c.explain(err))
		}
		bytesPut += int64(len(r.Value)) + maxHeader
	}
	c.size.grew(context.WithoutCancel(ctx), c, bytesPut)
	return nil
}

func (c *Cache) putRecord(ctx context.Context, r sdk.Record) error {
	if err := checkKey(r.Key); err != nil {
		return err
	}
	if len(r.Value) > maxValue {
		return fmt.Errorf("the value has %d bytes: at most %d are allowed", len(r.Value), maxValue)
	}
	if err := checkContext(ctx); err != nil {
		return err
	}
	return c.place(recordName(r.Key), func(f *os.File, _ string) error {
		header := fmt.Sprintf("%s %s %d %s\n", recordMagic, r.Key, len(r.Value), recordSum(r))
		if _, err := f.WriteString(header); err != nil {
			return err
		}
		_, err := f.Write(r.Value)
		return err
	})
}

// readRecord reads a record's file. One that is cut short, changed or no record at all is not found.
func (c *Cache) readRecord(name string) (_ sdk.Record, _ os.FileInfo, err error) {
	// A FIFO would block the open, so look before.
	info, err := c.root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) || (err == nil && !info.Mode().IsRegular()) {
		return sdk.Record{}, nil, sdk.ErrNotFound
	}
	if err != nil {
		return sdk.Record{}, nil, err
	}
	f, err := c.root.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return sdk.Record{}, nil, sdk.ErrNotFound
	}
	if err != nil {
		return sdk.Record{}, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	content, err := io.ReadAll(io.LimitReader(f, maxHeader+maxValue))
	if err != nil {
		return sdk.Record{}, nil, err
	}
	record, ok := parseRecord(content)
	if !ok {
		return sdk.Record{}, nil, sdk.ErrNotFound
	}
	return record, info, nil
}

func parseRecord(content []byte) (sdk.Record, bool) {
	header, value, ok := bytes.Cut(content, []byte("\n"))
	if !ok || len(header) > maxHeader {
		return sdk.Record{}, false
	}
	fields := strings.Split(string(header), " ")
	if len(fields) != recordFields || fields[0] != recordMagic {
		return sdk.Record{}, false
	}
	r := sdk.Record{Key: sdk.Key(fields[1]), Value: value}
	if checkKey(r.Key) != nil || strconv.Itoa(len(value)) != fields[2] || recordSum(r) != fields[3] {
		return sdk.Record{}, false
	}
	return r, true
}

// recordSum is the digest of key and value together, so that a file under another record's name is found out as well.
func recordSum(r sdk.Record) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(r.Key), r.Key)
	h.Write(r.Value)
	return hex.EncodeToString(h.Sum(nil))
}

func recordName(key sdk.Key) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return path.Join(recordDir, name[:2], name)
}

func checkKey(key sdk.Key) error {
	switch {
	case key == "":
		return errors.New("the key is empty")
	case len(key) > maxKey:
		return fmt.Errorf("the key has %d bytes: at most %d are allowed", len(key), maxKey)
	}
	for i := range len(key) {
		if !strings.Contains(keyAlphabet, string(rune(key[i]))) {
			return fmt.Errorf("the key has the byte %q: only lower-case letters, digits, '-', '/' and ':' are allowed", key[i])
		}
	}
	return nil
}
