// Package manifest is what a plugin says of itself: its name and kinds, the ABI it speaks, the schema of its configuration,
// and what it would like to be granted. It travels inside the program, in the custom section "trowel.manifest" of a Wasm
// module or at the end of a native one, and is read without running any code.
//
//	manifest.go  the manifest and what makes one valid
//	program.go   reads it from a program, and puts it there
//	wasm.go      the sections of a Wasm module         native.go  the end of an ELF file
//	facts.go     what else can be seen of a module     wants.go   what it wants and has not been granted
//
// Everything here reads bytes that strangers made.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/trowel-build/trowel/sdk"
)

// MaxSize is how large a manifest may be, as JSON; most of one is the schema of the configuration.
const MaxSize = 256 << 10

// Manifest is what a plugin says of itself.
type Manifest struct {
	ABI     int        `json:"abi"`
	Name    string     `json:"name"`
	Version string     `json:"version,omitempty"`
	Kinds   []sdk.Kind `json:"kinds"`
	Summary string     `json:"summary,omitempty"`
	// Home is a page for people, Source is where the code is.
	Home   string `json:"home,omitempty"`
	Source string `json:"source,omitempty"`
	// Language is what it was written in, such as "go".
	Language string   `json:"language,omitempty"`
	Features []string `json:"features,omitempty"`
	// ConfigSchema is a JSON Schema of the table [plugins.NAME.config]; absent means that anything goes.
	ConfigSchema json.RawMessage `json:"configSchema,omitempty"`
	Wants        Wants           `json:"wants,omitzero"`
}

// Wants are what a plugin would like to reach. They are requests: the user grants.
type Wants struct {
	Hosts   []string `json:"hosts,omitempty"` // as in the grant: "api.example.com", "*.example.com:8443"
	Env     []string `json:"env,omitempty"`
	Secrets []Secret `json:"secrets,omitempty"`
	Files   []string `json:"files,omitempty"` // "context", "stage"
}

// Secret is a secret that a plugin would use.
type Secret struct {
	Name    string `json:"name"`
	Use     string `json:"use"` // "sign-aws4", "hmac-sha256", "header" or "reply"
	Summary string `json:"summary,omitempty"`
}

// Parse reads a manifest that an author wrote. Unknown keys are errors: nothing that is written is ignored.
func Parse(text []byte) (Manifest, error) {
	m, err := decode(text, (*json.Decoder).DisallowUnknownFields)
	if err != nil {
		return Manifest{}, fmt.Errorf("parse plugin manifest: %w", err)
	}
	return m, nil
}

// decode reads and validates. What reads a program's manifest ignores unknown keys: a newer SDK may have written them.
func decode(text []byte, options ...func(*json.Decoder)) (Manifest, error) {
	var m Manifest
	if len(text) > MaxSize {
		return m, fmt.Errorf("it has %d bytes, and may have %d", len(text), MaxSize)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	for _, option := range options {
		option(d)
	}
	if err := d.Decode(&m); err != nil {
		return Manifest{}, describeJSON(text, d.InputOffset(), err)
	}
	if len(bytes.TrimSpace(text[d.InputOffset():])) > 0 {
		return Manifest{}, errors.New("there is more after the end of the JSON object")
	}
	return m, m.Validate()
}

// describeJSON adds the line that a JSON error is about.
func describeJSON(text []byte, offset int64, err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = e.Offset
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		offset = e.Offset
	}
	line := 1 + bytes.Count(text[:min(max(int(offset), 0), len(text))], []byte("\n"))
	return fmt.Errorf("line %d: %s", line, strings.TrimPrefix(err.Error(), "json: "))
}

// encode is the manifest as it travels: always the same bytes for the same manifest.
func (m Manifest) encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode plugin manifest: %w", err)
	}
	if len(text) > MaxSize {
		return nil, fmt.Errorf("the plugin manifest has %d bytes, and may have %d", len(text), MaxSize)
	}
	return text, nil
}

// Kinds and uses that there are, and the shapes of words.
func kinds() []sdk.Kind {
	return []sdk.Kind{sdk.KindCache, sdk.KindCredential, sdk.KindInstruction}
}

func secretUses() []string { return []string{"sign-aws4", "hmac-sha256", "header", "reply"} }

// The characters of words.
const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// isWord says whether text is of the given characters, one at least and as many as may be at most.
func isWord(text, of string, most int) bool {
	return text != "" && len(text) <= most && strings.Trim(text, of) == ""
}

func isName(text string) bool {
	return isWord(text, lower+digits+"._-", 64) && strings.Trim(text[:1]+text[len(text)-1:], lower+digits) == ""
}

func isVariable(text string) bool {
	return isWord(text, letters+digits+"_", 128) && !strings.Contains(digits, text[:1])
}

func isHost(text string) bool {
	_, rest, hasScheme := strings.Cut(text, "://")
	if !hasScheme {
		rest = text
	}
	scheme := strings.TrimSuffix(text, rest)
	return slices.Contains([]string{"", "http://", "https://"}, scheme) && isWord(rest, letters+digits+"*._:[]/-", 255)
}

// Validate says what is wrong with a manifest, if anything. What passes is fit to be shown on one line of a terminal.
func (m Manifest) Validate() error {
	if m.ABI < 1 || m.ABI > 1000 {
		return fmt.Errorf("abi is %d, and must be a version such as 1", m.ABI)
	}
	if !isName(m.Name) {
		return fmt.Errorf("name is %.70q, and must be of a-z, 0-9, dot, dash and underscore", m.Name)
	}
	if m.Version != "" && !isWord(m.Version, letters+digits+".+_-", 128) {
		return fmt.Errorf("version is %.140q, and must be one word such as 1.2.0", m.Version)
	}
	if len(m.Kinds) == 0 {
		return fmt.Errorf("kinds is empty: name what the plugin is, of %v", kinds())
	}
	for _, k := range m.Kinds {
		if !slices.Contains(kinds(), k) {
			return fmt.Errorf("kind %.60q is not one of %v", string(k), kinds())
		}
	}
	for _, line := range []struct{ key, text string }{
		{"summary", m.Summary}, {"home", m.Home}, {"source", m.Source}, {"language", m.Language},
	} {
		if err := oneLine(line.key, line.text); err != nil {
			return err
		}
	}
	for _, f := range m.Features {
		if !isWord(f, letters+digits+"_-", 64) {
			return fmt.Errorf("feature %.70q must be one word", f)
		}
	}
	if len(m.ConfigSchema) > 0 && !isObject(m.ConfigSchema) {
		return errors.New("configSchema must be a JSON object, a schema")
	}
	return m.Wants.validate()
}

func (w Wants) validate() error {
	for _, h := range w.Hosts {
		if !isHost(h) {
			return fmt.Errorf("wants.hosts has %.70q, which is no host such as \"api.example.com\" or \"*.example.com:8443\"", h)
		}
	}
	for _, e := range w.Env {
		if !isVariable(e) {
			return fmt.Errorf("wants.env has %.70q, which is no name of an environment variable", e)
		}
	}
	for _, s := range w.Secrets {
		if !isWord(s.Name, letters+digits+"_-", 64) {
			return fmt.Errorf("wants.secrets has the name %.70q, which must be of letters, digits, dash and underscore", s.Name)
		}
		if !slices.Contains(secretUses(), s.Use) {
			return fmt.Errorf("wants.secrets: the use of %q is %.30q, and must be one of %s", s.Name, s.Use, strings.Join(secretUses(), ", "))
		}
		if err := oneLine("wants.secrets."+s.Name+".summary", s.Summary); err != nil {
			return err
		}
	}
	for _, f := range w.Files {
		if f != "context" && f != "stage" {
			return fmt.Errorf("wants.files has %.30q, and may have \"context\" and \"stage\"", f)
		}
	}
	return nil
}

// isObject says whether JSON is an object; that it is valid is known already.
func isObject(text json.RawMessage) bool {
	return bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) && json.Valid(text)
}

// oneLine refuses what could play tricks on a terminal.
func oneLine(key, text string) error {
	if len(text) > 400 {
		return fmt.Errorf("%s has %d characters, and may have 400", key, len(text))
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%s has characters that cannot be shown", key)
	}
	return nil
}
