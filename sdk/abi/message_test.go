package abi_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// message is a message type, for tests that treat all alike.
type message struct {
	name string
	// sample is one with all fields set, encoded.
	sample func() []byte
	// recode decodes and encodes again.
	recode func([]byte) ([]byte, error)
	// check compares the sample with what its encoding decodes to.
	check func(t *testing.T)
}

func messageOf[T any](appendTo func([]byte, *T) []byte, decode func([]byte, *T) error) message {
	sample := func() *T {
		v := new(T)
		n := 0
		fill(reflect.ValueOf(v).Elem(), "", &n)
		return v
	}
	return message{
		name:   reflect.TypeFor[T]().Name(),
		sample: func() []byte { return appendTo(nil, sample()) },
		recode: func(b []byte) ([]byte, error) {
			var v T
			err := decode(b, &v)
			return appendTo(nil, &v), err
		},
		check: func(t *testing.T) {
			t.Helper()
			want, got := sample(), new(T)
			if err := decode(appendTo(nil, want), got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded %+v, want %+v", got, want)
			}
		},
	}
}

func messages() []message {
	return []message{
		messageOf(abi.AppendCall, abi.DecodeCall),
		messageOf(abi.AppendCredential, abi.DecodeCredential),
		messageOf(abi.AppendCredentialRequest, abi.DecodeCredentialRequest),
		messageOf(abi.AppendDescribeResponse, abi.DecodeDescribeResponse),
		messageOf(abi.AppendEmpty, abi.DecodeEmpty),
		messageOf(abi.AppendEnvRequest, abi.DecodeEnvRequest),
		messageOf(abi.AppendEnvResponse, abi.DecodeEnvResponse),
		messageOf(abi.AppendFileRequest, abi.DecodeFileRequest),
		messageOf(abi.AppendFinishPutRequest, abi.DecodeFinishPutRequest),
		messageOf(abi.AppendGetBlobRequest, abi.DecodeGetBlobRequest),
		messageOf(abi.AppendGetBlobResponse, abi.DecodeGetBlobResponse),
		messageOf(abi.AppendGetRecordsRequest, abi.DecodeGetRecordsRequest),
		messageOf(abi.AppendGetRecordsResponse, abi.DecodeGetRecordsResponse),
		messageOf(abi.AppendHTTPRequests, abi.DecodeHTTPRequests),
		messageOf(abi.AppendHTTPResponses, abi.DecodeHTTPResponses),
		messageOf(abi.AppendHelloRequest, abi.DecodeHelloRequest),
		messageOf(abi.AppendHelloResponse, abi.DecodeHelloResponse),
		messageOf(abi.AppendPlan, abi.DecodePlan),
		messageOf(abi.AppendPlanPutRequest, abi.DecodePlanPutRequest),
		messageOf(abi.AppendPlanPutResponse, abi.DecodePlanPutResponse),
		messageOf(abi.AppendPutBlobRequest, abi.DecodePutBlobRequest),
		messageOf(abi.AppendPutRecordsRequest, abi.DecodePutRecordsRequest),
		messageOf(abi.AppendReadDirResponse, abi.DecodeReadDirResponse),
		messageOf(abi.AppendReadFileResponse, abi.DecodeReadFileResponse),
		messageOf(abi.AppendSignRequest, abi.DecodeSignRequest),
		messageOf(abi.AppendSignResponse, abi.DecodeSignResponse),
		messageOf(abi.AppendStatBlobsRequest, abi.DecodeStatBlobsRequest),
		messageOf(abi.AppendStatBlobsResponse, abi.DecodeStatBlobsResponse),
		messageOf(abi.AppendStatResponse, abi.DecodeStatResponse),
	}
}

// fill sets every field to a value of its own, which is valid where only some are.
func fill(v reflect.Value, name string, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2031, 2, 3, 4, 5, 6, *n*1000, time.UTC)))
		return
	case fs.FileMode:
		v.Set(reflect.ValueOf(fs.ModeSetuid | 0o755))
		return
	case []byte:
		v.SetBytes([]byte("\x00\xff bytes of " + name))
		return
	case map[string]any:
		v.Set(reflect.ValueOf(map[string]any{
			"string": "text", "int": int64(1) << 60, "float": 2.0, "bool": true,
			"list": []any{"a", int64(-1), []any{}}, "table": map[string]any{"deep": map[string]any{}},
		}))
		return
	case sdk.Kind, sdk.CredentialKind, sdk.CredentialReason, sdk.CredentialScope, sdk.SignMethod, sdk.RedirectPolicy, sdk.FlagType,
		sdk.ErrorCode, sdk.Root:
		v.SetString(map[string]string{
			"Kind": "cache", "CredentialKind": "basic", "CredentialReason": "expiring", "CredentialScope": "repository",
			"SignMethod": "sign-aws4", "RedirectPolicy": "same-host", "FlagType": "list", "ErrorCode": "unavailable", "Root": "stage",
		}[v.Type().Name()])
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(name + " \"quoted\" \\ é\n\u2028")
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
		if v.Kind() == reflect.Int64 && *n%2 == 0 {
			v.SetInt(1<<53 + int64(*n))
		}
	case reflect.Uint32:
		v.SetUint(1<<32 - 1)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name, n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), name, n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), v.Type().Field(i).Name, n)
		}
	default:
		panic("no sample of " + v.Type().String())
	}
}

var update = flag.Bool("update", false, "write the goldens anew")

// TestGolden freezes the messages: a plugin built today must be understood by every later host of the same ABI.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, m := range messages() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.check(t)
			file := filepath.Join("testdata", "golden", m.name+".json")
			got := append(m.sample(), '\n')
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encoded %swant %s", got, want)
			}
			if again, err := m.recode(want); err != nil || !bytes.Equal(append(again, '\n'), want) {
				t.Errorf("the golden decodes with error %v and encodes to %s", err, again)
			}
		})
	}
}

// TestMessages keeps the list above complete.
func TestMessages(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("codec_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range messages() {
		listed[m.name] = true
	}
	for _, found := range regexp.MustCompile(`(?m)^func Append(\w+)\(`).FindAllSubmatch(src, -1) {
		if name := string(found[1]); !listed[name] {
			t.Errorf("message %s has no golden", name)
		}
		delete(listed, string(found[1]))
	}
	if len(listed) > 0 {
		t.Errorf("messages that are no more: %v", listed)
	}
}

// TestAbsent: what is null or absent is zero, and what is unknown is ignored.
func TestAbsent(t *testing.T) {
	t.Parallel()
	nulls := regexp.MustCompile(`"(\w+)":("(\\.|[^"\\])*"|-?[0-9.]+|true|\{\}|\[\])`)
	for _, m := range messages() {
		want, err := m.recode([]byte("{}"))
		if err != nil {
			t.Fatalf("%s: {}: %v", m.name, err)
		}
		top := topFields(string(m.sample()))
		for _, text := range []string{
			"null", ` {	"unknown" : [ { "a" : [ null , true, false, -1.5e+3, "\ud83d\ude00" ] } ] , "":{} } ` + "\r\n",
			"{" + strings.Join(top, ":null,") + ":null}",
		} {
			if len(top) == 0 && strings.HasPrefix(text, "{:") {
				continue
			}
			if got, err := m.recode([]byte(text)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %s is decoded as %s, want %s, error %v", m.name, text, got, want, err)
			}
		}
		scalarsNull := nulls.ReplaceAll(m.sample(), []byte(`"$1":null`))
		if _, err := m.recode(scalarsNull); err != nil {
			t.Errorf("%s: %s: %v", m.name, scalarsNull, err)
		}
	}
}

// topFields are the names, quoted, of the fields of an object.
func topFields(object string) []string {
	var names []string
	depth, inString, start := 0, false, 0
	for i := 0; i < len(object); i++ {
		switch c := object[i]; {
		case c == '\\':
			i++
		case c == '"':
			if inString = !inString; inString {
				start = i
			} else if depth == 1 && object[i+1] == ':' {
				names = append(names, object[start:i+1])
			}
		case inString:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	return names
}

func FuzzDecode(f *testing.F) {
	all := messages()
	for i, m := range all {
		f.Add(byte(i), m.sample())
	}
	for _, text := range decoderCases {
		f.Add(byte(0), []byte(text.in))
	}
	f.Fuzz(func(t *testing.T, which byte, in []byte) {
		m := all[int(which)%len(all)]
		first, err := m.recode(in)
		if err != nil {
			return
		}
		second, err := m.recode(first)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%s: %q encodes to %s, which encodes to %s: %v", m.name, in, first, second, err)
		}
	})
}

func FuzzResult(f *testing.F) {
	for _, text := range []string{
		`{"ok":{}}`, `{"error":{"code":"not_found"}}`, `{"ok":{"a":[1]},"more":null}`, `{"ok":1,"error":{}}`, `{"ok":`, "", "null",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		message, err := abi.Result(in)
		if err != nil {
			again, same := abi.Result(abi.Fail(err))
			if again != nil || !reflect.DeepEqual(sdk.AsError(err), sdk.AsError(same)) {
				t.Fatalf("%q: %+v became %+v", in, err, same)
			}
			return
		}
		again, err := abi.Result(abi.OK(message))
		if err != nil || !bytes.Equal(again, message) {
			t.Fatalf("%q: message %q became %q: %v", in, message, again, err)
		}
	})
}
