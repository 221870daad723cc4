package author

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/host/plugin/transport"
	"github.com/trowel-build/trowel/sdk"
	"github.com/trowel-build/trowel/sdk/abi"
)

// Case is one of the author's own: a file tests/*.json. It says what the plugin is asked, what it finds when it asks the
// host, and what it has to answer. In requests and responses {"$text": "…"} stands for the base64 of a text.
type Case struct {
	Name string `json:"-"` // of the file

	Op string `json:"op"` // such as "plan"
	// Config is the plugin's configuration; absent means that of [test.config].
	Config  map[string]any  `json:"config"`
	Request json.RawMessage `json:"request"`
	// Context and Stage are the files that an instruction handler finds, by name.
	Context map[string]string `json:"context"`
	Stage   map[string]string `json:"stage"`
	// Env are the variables that there are.
	Env map[string]string `json:"env"`
	// HTTP are the requests that the plugin makes, each of them once, in any order, and their answers.
	HTTP []Exchange `json:"http"`
	// Sign are answers to requests to sign, in their order.
	Sign []json.RawMessage `json:"sign"`

	// Response or Error is what has to come.
	Response json.RawMessage `json:"response"`
	Error    *CaseError      `json:"error"`

	op       abi.Op
	request  []byte
	response any
}

// CaseError is an error that has to come.
type CaseError struct {
	Code    sdk.ErrorCode `json:"code"`
	Message string        `json:"message"` // a part of it
}

// Exchange is a request and its answer.
type Exchange struct {
	Request struct {
		Method string            `json:"method"`
		URL    string            `json:"url"`
		Header map[string]string `json:"header"` // that it has, besides others
		Body   *string           `json:"body"`   // absent means any
	} `json:"request"`
	Response struct {
		Status int               `json:"status"`
		Header map[string]string `json:"header"`
		Body   string            `json:"body"`
		Error  *sdk.Error        `json:"error"` // instead of an answer
	} `json:"response"`
}

// loadCases reads the cases of a subject, in the order of their names.
func (s *Subject) loadCases() ([]*Case, error) {
	files, err := filepath.Glob(filepath.Join(s.Cases, "*.json"))
	if err != nil {
		return nil, err
	}
	var cases []*Case
	for _, file := range files {
		c, err := loadCase(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func loadCase(file string) (*Case, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &Case{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if c.op, err = ParseOp(c.Op); err != nil {
		return nil, err
	}
	if (c.Error == nil) == (c.Response == nil) {
		return nil, errors.New("want either response or error")
	}
	if c.request, err = ExpandText(c.Request); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if c.Response != nil {
		if c.response, err = expanded(c.Response); err != nil {
			return nil, fmt.Errorf("response: %w", err)
		}
	}
	return c, nil
}

// ExpandText returns JSON with the base64 of the text in the place of each {"$text": "…"}. Nothing is an empty object.
func ExpandText(text []byte) ([]byte, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return []byte("{}"), nil
	}
	value, err := expanded(text)
	if err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

func expanded(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is more after the JSON value")
	}
	return expand(value), nil
}

func expand(value any) any {
	switch v := value.(type) {
	case map[string]any:
		if text, ok := v["$text"].(string); ok && len(v) == 1 {
			return base64.StdEncoding.EncodeToString([]byte(text))
		}
		for key, element := range v {
			v[key] = expand(element)
		}
	case []any:
		for i, element := range v {
			v[i] = expand(element)
		}
	}
	return value
}

func (c *Case) configuration(s *Subject) map[string]any {
	config := c.Config
	if config == nil {
		config = testConfig(s.Test.Config, "127.0.0.1:9", 0)
	}
	return whole(config)
}

// whole turns numbers without a fraction into integers, as TOML has them.
func whole(config map[string]any) map[string]any {
	out := maps.Clone(config)
	for key, value := range out {
		switch v := value.(type) {
		case float64:
			if v == float64(int64(v)) {
				out[key] = int64(v)
			}
		case map[string]any:
			out[key] = whole(v)
		}
	}
	return out
}

func (c *Case) files() sdk.FileSystem {
	return tree{sdk.RootContext: c.Context, sdk.RootStage: c.Stage}
}

// check runs the case in an instance of its own.
func (c *Case) check(ctx context.Context, t *tester, f *findings) (err error) {
	s := t.harness.subject
	purity := transport.Ordinary
	if s.Kind == sdk.KindInstruction && len(s.Manifest.Wants.Hosts)+len(s.Manifest.Wants.Env)+len(s.Manifest.Wants.Secrets) == 0 {
		purity = transport.Deterministic
	}
	canned := &cannedServices{c: c, log: t.log}
	r, err := t.harness.start(ctx, conditions{config: c.configuration(s), services: canned, purity: purity})
	if err != nil {
		if c.op == abi.OpHello {
			c.compareError(err, f)
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	envelope, err := []byte(nil), error(nil)
	if c.op == abi.OpHello {
		envelope, err = r.conn.Hello(ctx)
	} else {
		envelope, err = r.conn.Call(service.WithFiles(ctx, c.files()), c.op, c.request, nil)
	}
	if err != nil {
		return err
	}
	message, err := abi.Result(envelope)
	if err != nil {
		c.compareError(err, f)
	} else {
		c.compare(message, f)
	}
	canned.rest(f)
	return nil
}

func (c *Case) compareError(err error, f *findings) {
	switch {
	case c.Error == nil:
		f.problem("it answers with the error %q (%s)", err.Error(), codeOf(err))
	case codeOf(err) != c.Error.Code || !strings.Contains(err.Error(), c.Error.Message):
		f.problem("it answers with the error %q (%s), want %q (%s)", err.Error(), codeOf(err), c.Error.Message, c.Error.Code)
	}
}

func (c *Case) compare(message []byte, f *findings) {
	got, err := expanded(message)
	if err != nil {
		f.problem("it answers with %s: %v", show(message), err)
		return
	}
	if c.Error != nil {
		f.problem("it answers as if all were well, and should answer with the error %q (%s):\n%s", c.Error.Message, c.Error.Code, pretty(got))
		return
	}
	if !reflect.DeepEqual(withoutNothing(got), withoutNothing(c.response)) {
		f.problem("it answers\n%s\nand should answer\n%s", pretty(got), pretty(c.response))
	}
}

// withoutNothing removes fields that say nothing, which a codec may leave out: null, false, 0, "", and what is empty.
func withoutNothing(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, element := range v {
			if element = withoutNothing(element); !saysNothing(element) {
				out[key] = element
			}
		}
		return out
	case []any:
		out := slices.Clone(v)
		for i, element := range v {
			out[i] = withoutNothing(element)
		}
		return out
	}
	return value
}

func saysNothing(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		return v == "0"
	case []any:
		return len(v) == 0
	}
	return false
}

func pretty(value any) string {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err != nil {
		return fmt.Sprint(value)
	}
	return "  " + string(text)
}

// ParseConfig reads a plugin's configuration from JSON.
func ParseConfig(text []byte) (map[string]any, error) {
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	return whole(config), nil
}
