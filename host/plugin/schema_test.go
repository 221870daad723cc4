package plugin

import (
	"encoding/json"
	"testing"
)

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	schema := json.RawMessage(`{"type":"object","additionalProperties":false,"required":["bucket"],
		"properties":{"bucket":{"type":"string"},"size":{"type":"integer","minimum":1},"nested":{"type":"object","properties":{"on":{"type":"boolean"}}}}}`)
	for name, tt := range map[string]struct {
		config map[string]any
		want   string
	}{
		"right":         {map[string]any{"bucket": "b", "size": int64(2)}, ""},
		"missing":       {nil, "config: missing property 'bucket'"},
		"wrong type":    {map[string]any{"bucket": int64(1)}, "config.bucket: got number, want string"},
		"unknown":       {map[string]any{"bucket": "b", "buckets": "b"}, "config: additional properties 'buckets' not allowed"},
		"out of range":  {map[string]any{"bucket": "b", "size": int64(0)}, "config.size: minimum: got 0, want 1"},
		"within tables": {map[string]any{"bucket": "b", "nested": map[string]any{"on": "yes"}}, "config.nested.on: got string, want boolean"},
	} {
		got := ""
		if err := checkConfig(schema, tt.config); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if err := checkConfig(nil, map[string]any{"any": "thing"}); err != nil {
		t.Errorf("without a schema: %v", err)
	}
	if err := checkConfig(json.RawMessage(`{"$ref":"file:///etc/passwd"}`), nil); err == nil {
		t.Error("a schema refers to a file")
	}
}
