package bucket

import (
	"context"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/sdk"
)

// environment has variables that are granted.
type environment map[string]string

func (e environment) Env(_ context.Context, names []string) ([]sdk.Variable, error) {
	value, ok := e[names[0]]
	if !ok {
		return nil, &sdk.Error{Code: sdk.CodeDenied, Message: names[0] + " is not granted"}
	}
	return []sdk.Variable{{Name: names[0], Value: value}}, nil
}

const sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config map[string]any
		env    environment
		record string // of kind/sha256:00
	}{
		{"AWS", map[string]any{"bucket": "ci-cache", "region": "eu-central-1"}, nil, "https://ci-cache.s3.eu-central-1.amazonaws.com/records/kind_sha256~00"},
		{"AWS by environment", map[string]any{"bucket": "ci-cache"}, environment{"AWS_REGION": "ap-south-1"}, "https://ci-cache.s3.ap-south-1.amazonaws.com/records/kind_sha256~00"},
		{"AWS in China", map[string]any{"bucket": "ci-cache", "region": "cn-north-1"}, nil, "https://ci-cache.s3.cn-north-1.amazonaws.com.cn/records/kind_sha256~00"},
		{"AWS with dots", map[string]any{"bucket": "ci.cache"}, nil, "https://s3.us-east-1.amazonaws.com/ci.cache/records/kind_sha256~00"},
		{"endpoint", map[string]any{"bucket": "ci-cache", "endpoint": "https://minio.example.com:9000/"}, nil, "https://minio.example.com:9000/ci-cache/records/kind_sha256~00"},
		{"endpoint by virtual host", map[string]any{"bucket": "ci-cache", "endpoint": "http://[::1]:9000", "path-style": false}, nil, "http://ci-cache.[::1]:9000/records/kind_sha256~00"},
		{"prefix", map[string]any{"bucket": "ci-cache", "prefix": "/team/app_1.x~/"}, nil, "https://ci-cache.s3.us-east-1.amazonaws.com/team/app_1.x~/records/kind_sha256~00"},
	} {
		tt.config["access-key-id"] = "ID"
		ctx := sdk.WithServices(t.Context(), sdk.Services{Env: tt.env})
		b, err := New(ctx, sdk.NewConfig(tt.config))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := b.Request("GET", "records/kind_sha256~00").URL; got != tt.record {
			t.Errorf("%s: record at %q, want %q", tt.name, got, tt.record)
		}
		want := strings.TrimSuffix(tt.record, "records/kind_sha256~00") + "blobs/sha256/" + sum
		if got, err := b.blob("sha256:" + sum); got != want || err != nil {
			t.Errorf("%s: blob at %q, want %q", tt.name, got, want)
		}
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for want, config := range map[string]map[string]any{
		"bucket is missing":              {},
		"unknown key buckets":            {"bucket": "ci-cache", "buckets": 1},
		"region must be a string":        {"bucket": "ci-cache", "region": int64(1)},
		"is no name of a bucket":         {"bucket": "Ci_Cache"},
		"is no region":                   {"bucket": "ci-cache", "region": "EU/west"},
		"access-key-id is missing":       {"bucket": "ci-cache", "access-key-id": ""},
		"is no ID of an access key":      {"bucket": "ci-cache", "access-key-id": "a/b"},
		"no name of a grant":             {"bucket": "ci-cache", "secret": "a b"},
		"must be \"{{secret:NAME}}\"":    {"bucket": "ci-cache", "session-token": "FwoGZXIvYXdzE"},
		"is none such as \"https://mini": {"bucket": "ci-cache", "endpoint": "minio:9000"},
		"is none such as \"team/app\"":   {"bucket": "ci-cache", "prefix": "a/../b"},
		"part-size must be":              {"bucket": "ci-cache", "part-size": "4MiB"},
		"part-size \"16\" is no size":    {"bucket": "ci-cache", "part-size": "16"},
	} {
		if _, set := config["access-key-id"]; !set {
			config["access-key-id"] = "ID"
		}
		_, err := New(t.Context(), sdk.NewConfig(config))
		if err == nil || sdk.AsError(err).Code != sdk.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", config, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "FwoGZXIvYXdzE") {
			t.Error("the error tells the token")
		}
	}
}

func TestPartSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ wanted, size, want int64 }{
		{16 << 20, 17 << 20, 16 << 20},
		{16 << 20, 2000 * 16 << 20, 16 << 20},
		{16 << 20, 2000*16<<20 + 1, 17 << 20},
		{5 << 20, maxBlob, 2622 << 20},
	} {
		got := partSize(tt.wanted, tt.size)
		if got != tt.want || (tt.size+got-1)/got > mostParts || got > maxPart {
			t.Errorf("partSize(%d, %d) = %d, want %d", tt.wanted, tt.size, got, tt.want)
		}
	}
}

func TestEscape(t *testing.T) {
	t.Parallel()
	if got, want := escape("aZ0-_.~ /+=&é"), "aZ0-_.~%20%2F%2B%3D%26%C3%A9"; got != want {
		t.Errorf("escape: %q, want %q", got, want)
	}
}
