package abi_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// decoderCases are decoded as a sdk.Call, whose keyword is compared. An empty problem means that there is none.
var decoderCases = []struct{ in, keyword, problem string }{
	{in: `{"keyword":"K"}`, keyword: "K"},
	{in: ` { "keyword" : "a\"\\\/\b\f\n\r\tz" } `, keyword: "a\"\\/\b\f\n\r\tz"},
	{in: `{"\u006beyword":"\u00e9\ud83d\ude00\u2028"}`, keyword: "é😀\u2028"},
	{in: `{"keyword":"\ud83d","user":"x"}`, keyword: "\ufffd"},
	{in: `{"keyword":"\ude00\ud83d\u0041"}`, keyword: "\ufffd\ufffdA"},
	{in: `{"keyword":"\ud83dxxxxxx"}`, keyword: "\ufffdxxxxxx"},
	{in: "{\"keyword\":\"a\xff\xc3(\xed\xa0\x80b\"}", keyword: "a\ufffd\ufffd(\ufffd\ufffd\ufffdb"},
	{in: `{"keyword":"first","keyword":"last"}`, keyword: "last"},
	{in: `{"Keyword":"other case","KEYWORD":1}`},
	{in: `{"keyword":1}`, problem: "want a string"},
	{in: `{"keyword":"K"`, problem: "want , or }"},
	{in: `{"keyword":"K"}}`, problem: "more follows"},
	{in: `{"keyword":"K"} x`, problem: "more follows"},
	{in: `{"keyword":"K",}`, problem: "want a string"},
	{in: `{,"keyword":"K"}`, problem: "want a string"},
	{in: `{"keyword" "K"}`, problem: "want :"},
	{in: `{"keyword":"K" "user":"u"}`, problem: "want , or }"},
	{in: `{keyword:"K"}`, problem: "want a string"},
	{in: `{'keyword':"K"}`, problem: "want a string"},
	{in: `{"keyword":"K}`, problem: "string without end"},
	{in: "{\"keyword\":\"a\nb\"}", problem: "control character"},
	{in: `{"keyword":"\x41"}`, problem: "bad escape"},
	{in: `{"keyword":"\u00g0"}`, problem: "bad escape"},
	{in: `{"keyword":"\u00`, problem: "bad escape"},
	{in: `{"keyword":"\`, problem: "bad escape"},
	{in: `{"args":["a",]}`, problem: "want a string"},
	{in: `{"args":["a" "b"]}`, problem: "want , or ]"},
	{in: `{"args":{}}`, problem: "want ["},
	{in: `{"args":[`, problem: "want a string"},
	{in: `[]`, problem: "want {"},
	{in: ``, problem: "want {"},
	{in: "\xef\xbb\xbf{}", problem: "want {"},
	{in: "{}\x00", problem: "more follows"},
	{in: `nul`, problem: "want null"},
	{in: `{"x":tru}`, problem: "want true"},
	{in: `{"x":falsey}`, problem: "want , or }"},
	{in: `{"x":01}`, problem: "want , or }"},
	{in: `{"x":-}`, problem: "want a value"},
	{in: `{"x":1.}`, problem: "want a digit"},
	{in: `{"x":1e}`, problem: "want a digit"},
	{in: `{"x":+1}`, problem: "want a value"},
	{in: `{"x":.5}`, problem: "want a value"},
	{in: `{"x":NaN}`, problem: "want a value"},
	{in: `{"x":}`, problem: "want a value"},
	{in: `{"x":/*c*/1}`, problem: "want a value"},
	{in: `{"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`},
	{in: `{"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, problem: "too deep"},
	{in: strings.Repeat(`{"x":`, 100000), problem: "too deep"},
	{in: `{"args":[` + strings.Repeat(`"",`, 1<<18) + `""]}`, problem: "too many elements"},
}

func TestDecoder(t *testing.T) {
	t.Parallel()
	for _, tt := range decoderCases {
		var call sdk.Call
		err := abi.DecodeCall([]byte(tt.in), &call)
		name := tt.in[:min(len(tt.in), 60)]
		if tt.problem == "" {
			if err != nil || call.Keyword != tt.keyword {
				t.Errorf("%q: keyword %q, want %q, error %v", name, call.Keyword, tt.keyword, err)
			}
			continue
		}
		failure, ok := errors.AsType[*sdk.Error](err)
		if !ok || failure.Code != sdk.CodeInvalid || !strings.Contains(failure.Message, tt.problem) {
			t.Errorf("%q: error %v, want one of the code invalid with %q", name, err, tt.problem)
		}
		if json.Valid([]byte(tt.in)) && !strings.Contains("too deep, too many elements, want a string, want [, want {", tt.problem) {
			t.Errorf("%q is JSON", name)
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"0": 0, "-0": 0, "7": 7, `"7"`: 7, "1.0": 1, "1e3": 1000, "-12.50e1": -125, "9223372036854775807": math.MaxInt64,
		`"-9223372036854775808"`: math.MinInt64, "9007199254740993": 1<<53 + 1,
	} {
		var got abi.PutBlobRequest
		if err := abi.DecodePutBlobRequest([]byte(`{"blob":{"size":`+in+`}}`), &got); err != nil || got.Blob.Size != want {
			t.Errorf("%s is decoded as %d, want %d, error %v", in, got.Blob.Size, want, err)
		}
	}
	for _, in := range []string{"1.5", "1e300", `""`, `"1.0"`, `" 1"`, "9223372036854775808", `"x"`, "true", "[]", "1e-400"} {
		var got abi.PutBlobRequest
		if err := abi.DecodePutBlobRequest([]byte(`{"blob":{"size":`+in+`}}`), &got); err == nil && in != "1e-400" {
			t.Errorf("%s is decoded as %d", in, got.Blob.Size)
		}
	}
	for _, in := range []string{"-1", "4294967296", `"4294967296"`} {
		if err := abi.DecodePutBlobRequest([]byte(`{"source":`+in+`}`), &abi.PutBlobRequest{}); err == nil {
			t.Errorf("a stream may be %s", in)
		}
	}
	for n, want := range map[int64]string{1 << 53: "9007199254740992", 1<<53 + 1: `"9007199254740993"`, -1<<53 - 1: `"-9007199254740993"`} {
		got := abi.AppendPutBlobRequest(nil, &abi.PutBlobRequest{Blob: sdk.Blob{Size: n}})
		if !strings.Contains(string(got), `"size":`+want+"}") {
			t.Errorf("%d is encoded in %s", n, got)
		}
	}
}

func TestBase64(t *testing.T) {
	t.Parallel()
	for n := range 70 {
		value := make([]byte, n)
		for i := range value {
			value[i] = byte(i*37 + n*11)
		}
		want, err := json.Marshal(abi.ReadFileResponse{Content: value})
		if err != nil {
			t.Fatal(err)
		}
		if got := abi.AppendReadFileResponse(nil, &abi.ReadFileResponse{Content: value}); string(got) != string(want) {
			t.Errorf("encoded %s, want %s", got, want)
		}
		var got abi.ReadFileResponse
		if err := abi.DecodeReadFileResponse(want, &got); err != nil || string(got.Content) != string(value) {
			t.Errorf("%s is decoded as %q, error %v", want, got.Content, err)
		}
	}
	for _, bad := range []string{"A", "AA", "AAA", "AA=A", "A===", "====", "AB==", "AAB=", "AA-_", "AA==AAAA", "AAA\\n", "é==="} {
		if err := abi.DecodeReadFileResponse([]byte(`{"content":"`+bad+`"}`), &abi.ReadFileResponse{}); err == nil {
			t.Errorf("%q passes for base64", bad)
		}
	}
	var slashes abi.ReadFileResponse
	if err := abi.DecodeReadFileResponse([]byte(`{"content":"\/\/\/\/"}`), &slashes); err != nil || string(slashes.Content) != "\xff\xff\xff" {
		t.Errorf("escaped slashes are decoded as %q, error %v", slashes.Content, err)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("east", 3600)
	for _, tt := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2026, 1, 2, 3, 4, 5, 0, east), `,"expiresAt":"2026-01-02T02:04:05Z"`},
		{time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), `,"expiresAt":"2026-01-02T03:04:05.0000006Z"`},
		{time.Date(12026, 1, 2, 3, 4, 5, 0, time.UTC), `,"expiresAt":"9999-12-31T23:59:59Z"`},
		{time.Date(-5, 1, 2, 3, 4, 5, 0, time.UTC), `,"expiresAt":"0000-01-01T00:00:00Z"`},
		{time.Time{}, ""},
	} {
		if got := string(abi.AppendCredential(nil, &sdk.Credential{ExpiresAt: tt.at})); got != `{"kind":""`+tt.want+"}" {
			t.Errorf("%s is encoded in %s", tt.at, got)
		}
	}
	var c sdk.Credential
	if err := abi.DecodeCredential([]byte(`{"expiresAt":"2026-01-02T03:04:05+01:00"}`), &c); err != nil ||
		c.ExpiresAt != time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC) {
		t.Errorf("decoded %s, error %v", c.ExpiresAt, err)
	}
	for _, bad := range []string{
		"", "yesterday", "2026-01-02", "2026-01-02 03:04:05Z", "9999-12-31T23:59:59-10:00",
		"2026-02-30T00:00:00Z", "2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
		"2026-01-01T00:00:60Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+24:00",
		"2026-01-01t00:00:00Z", "2026-01-01T00:00:00Zz", "026-01-01T00:00:00Z",
	} {
		if err := abi.DecodeCredential([]byte(`{"expiresAt":"`+bad+`"}`), &c); err == nil {
			t.Errorf("%q passes for a time", bad)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	nested := map[string]any{}
	for range 70 {
		nested = map[string]any{"n": nested}
	}
	for name, tt := range map[string]struct {
		in, want map[string]any
		bad      bool
	}{
		"types survive": {
			in:   map[string]any{"i": int64(3), "f": 3.0, "big": int64(math.MaxInt64), "small": 1e-9, "huge": 1e300, "s": "3", "e": []any{}},
			want: map[string]any{"i": int64(3), "f": 3.0, "big": int64(math.MaxInt64), "small": 1e-9, "huge": 1e300, "s": "3", "e": []any{}},
		},
		"what TOML libraries make": {
			in:   map[string]any{"i": 4, "t": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "a": []map[string]any{{"k": true}}},
			want: map[string]any{"i": int64(4), "t": "2026-01-02T03:04:05Z", "a": []any{map[string]any{"k": true}}},
		},
		"no number":    {in: map[string]any{"x": math.NaN(), "y": math.Inf(1)}, want: map[string]any{}, bad: true},
		"unknown type": {in: map[string]any{"x": []any{struct{}{}}}, want: map[string]any{"x": []any{nil}}, bad: true},
		"too deep":     {in: nested, bad: true},
	} {
		if err := abi.CheckConfig(tt.in); (err != nil) != tt.bad {
			t.Errorf("%s: CheckConfig: %v", name, err)
		}
		var got abi.HelloRequest
		if err := abi.DecodeHelloRequest(abi.AppendHelloRequest(nil, &abi.HelloRequest{Config: tt.in}), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if tt.want != nil && !reflect.DeepEqual(got.Config, tt.want) {
			t.Errorf("%s: decoded %v, want %v", name, got.Config, tt.want)
		}
	}
	for _, bad := range []string{`1e999`, `{"a":1`, `[`, `-`} {
		if err := abi.DecodeHelloRequest([]byte(`{"config":{"x":`+bad+`}}`), &abi.HelloRequest{}); err == nil {
			t.Errorf("%s is decoded", bad)
		}
	}
}

// TestStrings: whatever is in a string, encoding/json reads it as this codec does.
func TestStrings(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "\x00\x01\x1f\x7f\"\\/", "é😀\u2028\u2029", "bad \xff\xc0\x80 end\xe2\x82", "<script>&"} {
		encoded := abi.AppendCall(nil, &sdk.Call{Keyword: s})
		var theirs, ours sdk.Call
		if err := json.Unmarshal(encoded, &theirs); err != nil {
			t.Errorf("%q is encoded as %s: %v", s, encoded, err)
		}
		if err := abi.DecodeCall(encoded, &ours); err != nil || ours.Keyword != theirs.Keyword || ours.Keyword != strings.ToValidUTF8(s, "\ufffd") && s != "bad \xff\xc0\x80 end\xe2\x82" {
			t.Errorf("%q is decoded as %q, by encoding/json as %q, error %v", s, ours.Keyword, theirs.Keyword, err)
		}
	}
}

// TestStringsOfEveryByte has each byte at each place of a word of eight, and after one: that many are looked at together.
func TestStringsOfEveryByte(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for before := range 17 {
			s := strings.Repeat("x", before) + string([]byte{byte(c)}) + strings.Repeat("y", 17-before)
			encoded := abi.AppendCall(nil, &sdk.Call{Keyword: s})
			var theirs, ours sdk.Call
			if err := json.Unmarshal(encoded, &theirs); err != nil {
				t.Fatalf("%q is encoded as %s: %v", s, encoded, err)
			}
			if err := abi.DecodeCall(encoded, &ours); err != nil || ours.Keyword != theirs.Keyword || ours.Keyword != strings.ToValidUTF8(s, "\ufffd") {
				t.Errorf("%q is decoded as %q, by encoding/json as %q, error %v", s, ours.Keyword, theirs.Keyword, err)
			}
			raw := `{"keyword":"` + s + `"}`
			if refused := abi.DecodeCall([]byte(raw), &ours) != nil; refused != (c < ' ' || c == '"' || c == '\\' && !strings.ContainsAny(s[before+1:before+2], `"\/bfnrtu`)) {
				t.Errorf("%q: refused: %t", raw, refused)
			}
		}
	}
}

// benchCall is a request of 5 KB.
func benchCall() sdk.Call {
	c := sdk.Call{
		Keyword: "JSONNET", Workdir: "/src", User: "app", Platform: "linux/amd64", Shell: []string{"/bin/sh", "-c"},
		Args: []string{"template.jsonnet", "/etc/app/config.json"}, Flags: []sdk.FlagValue{{Name: "ext-str", Value: "env=production"}},
		Heredocs: []sdk.Heredoc{{Name: "EOF", Content: strings.Repeat("local x = import \"lib.libsonnet\";\n\t{ a: x.b }\n", 40)}},
	}
	for _, name := range strings.Fields("PATH HOME LANG GOPATH JAVA_HOME NODE_VERSION PYTHON_VERSION GPG_KEY CI_COMMIT_SHA DEBIAN_FRONTEND") {
		c.Env = append(c.Env, name+"="+strings.Repeat("/usr/local/share/"+strings.ToLower(name), 8))
	}
	return c
}

func BenchmarkDecodeCall(b *testing.B) {
	call := benchCall()
	encoded := abi.AppendCall(nil, &call)
	b.Run("abi", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		b.ReportAllocs()
		for b.Loop() {
			var c sdk.Call
			if err := abi.DecodeCall(encoded, &c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(encoded)))
		b.ReportAllocs()
		for b.Loop() {
			var c sdk.Call
			if err := json.Unmarshal(encoded, &c); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEncodeCall(b *testing.B) {
	call := benchCall()
	buffer := abi.AppendCall(nil, &call)
	b.Run("abi", func(b *testing.B) {
		b.SetBytes(int64(len(buffer)))
		b.ReportAllocs()
		for b.Loop() {
			buffer = abi.AppendCall(buffer[:0], &call)
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(buffer)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&call); err != nil {
				b.Fatal(err)
			}
		}
	})
}
