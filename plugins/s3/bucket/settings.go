package bucket

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/objects"
)

// Bucket is a cache in a bucket.
type Bucket struct {
	objects.Store
	settings
	address address
	sign    *sdk.SignRequest
}

// settings are what the user configured.
type settings struct {
	bucket       string
	region       string
	accessKeyID  string // or {{secret:NAME}}
	sessionToken string // {{secret:NAME}}, or empty
	secret       string // the name of the grant of the secret access key
	partSize     int64
}

// Limits of S3.
const (
	minPart = 5 << 20
	maxPart = 5 << 30
	maxBlob = 5 << 40
	// mostParts is less than S3's 10,000: the URLs of all parts have to fit in one answer to the host.
	mostParts = 2000
)

// Open reads the configuration. It is the constructor of the plugin.
func Open(ctx context.Context, config *sdk.Config) (sdk.CacheReader, error) {
	return New(ctx, config)
}

// New reads the configuration.
func New(ctx context.Context, config *sdk.Config) (*Bucket, error) {
	b := &Bucket{settings: settings{
		bucket:       config.Required("bucket"),
		region:       config.String("region", ""),
		accessKeyID:  config.String("access-key-id", ""),
		sessionToken: config.String("session-token", ""),
		secret:       config.String("secret", "s3"),
	}}
	endpoint := config.String("endpoint", "")
	pathStyle := config.Bool("path-style", endpoint != "" || strings.Contains(b.bucket, "."))
	prefix := config.String("prefix", "")
	partSize := config.String("part-size", "16MiB")
	if err := config.Err(); err != nil {
		return nil, err
	}
	if err := b.fromEnvironment(ctx); err != nil {
		return nil, err
	}
	var err error
	if b.partSize, err = parseSize(partSize); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	style := virtualHost
	if pathStyle {
		style = inPath
	}
	b.address, err = newAddress(endpoint, b.region, b.bucket, prefix, style)
	b.sign = b.signature()
	b.Store = b.store()
	return b, err
}

// fromEnvironment fills in what AWS has variables for, if they are granted.
func (s *settings) fromEnvironment(ctx context.Context) error {
	for _, v := range []struct {
		field *string
		name  string
	}{{&s.region, "AWS_REGION"}, {&s.accessKeyID, "AWS_ACCESS_KEY_ID"}} {
		if *v.field != "" {
			continue
		}
		value, err := sdk.Env(ctx, v.name)
		if e, ok := errors.AsType[*sdk.Error](err); ok && (e.Code == sdk.CodeDenied || e.Code == sdk.CodeUnsupported) {
			err = nil
		}
		if err != nil {
			return err
		}
		*v.field = value
	}
	if s.region == "" {
		s.region = "us-east-1"
	}
	if s.accessKeyID == "" {
		return wrong("access-key-id is missing: set it, or grant allow.env = [\"AWS_ACCESS_KEY_ID\"] and set that variable")
	}
	return nil
}

func (s *settings) check() error {
	if n := len(s.bucket); n < 3 || n > 63 || !only(s.bucket, lower+digits+".-") || strings.Contains(s.bucket, "..") {
		return wrong("bucket " + strconv.Quote(s.bucket) + " is no name of a bucket: lower-case letters, digits, '.' and '-', 3 to 63 of them")
	}
	if !only(s.region, lower+digits+"-") {
		return wrong("region " + strconv.Quote(s.region) + " is no region such as \"eu-central-1\"")
	}
	if !only(s.secret, lower+upper+digits+"-_") || s.secret == "" {
		return wrong("secret " + strconv.Quote(s.secret) + " is no name of a grant in allow.secrets")
	}
	if strings.ContainsAny(s.accessKeyID, " \t\r\n/,=") {
		return wrong("access-key-id is no ID of an access key")
	}
	if s.sessionToken != "" && (!strings.HasPrefix(s.sessionToken, "{{secret:") || !strings.HasSuffix(s.sessionToken, "}}")) {
		return wrong("session-token must be \"{{secret:NAME}}\", with allow.secrets.NAME of the use \"sign-aws4\"")
	}
	if s.partSize < minPart || s.partSize > maxPart {
		return wrong("part-size must be from 5MiB to 5GiB")
	}
	return nil
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// only says whether s has no other characters than those of set.
func only(s, set string) bool {
	for i := range len(s) {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}

// parseSize reads sizes such as 16MiB and 1GiB.
func parseSize(text string) (int64, error) {
	number, unit := text, int64(0)
	for suffix, n := range map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			number, unit = rest, n
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n <= 0 || unit == 0 {
		return 0, wrong("part-size " + strconv.Quote(text) + " is no size such as \"16MiB\"")
	}
	return n * unit, nil
}

// wrong is an error about the configuration.
func wrong(text string) error { return &sdk.Error{Code: sdk.CodeInvalid, Message: "config: " + text} }
