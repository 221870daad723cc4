package service

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
)

const (
	// minSecret is how long a secret must be to be redacted: shorter ones would take ordinary text with them.
	minSecret = 4
	// minForm is how long another form of a secret must be, for the same reason: there are many.
	minForm = 8
	mask    = "***"
)

// Redactor replaces every secret that was put to use by "***": the secret itself, and how it is written in base64, in
// hexadecimal, in a URL, in JSON and in part of a line. It is for accidents. What a host that was granted a secret does
// with it otherwise, no redactor can tell.
type Redactor struct {
	mu       sync.RWMutex
	forms    []string // the longest first
	replacer *strings.Replacer
}

// Add has a secret redacted from now on.
func (r *Redactor) Add(secret string) {
	forms := formsOf(secret)
	if len(forms) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(slices.Clone(r.forms), forms...)
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	if all = slices.Compact(all); len(all) == len(r.forms) {
		return
	}
	pairs := make([]string, 0, 2*len(all))
	for _, form := range all {
		pairs = append(pairs, form, mask)
	}
	r.forms, r.replacer = all, strings.NewReplacer(pairs...)
}

// Redact returns the text without secrets.
func (r *Redactor) Redact(text string) string {
	forms, replacer := r.state()
	for _, form := range forms {
		if strings.Contains(text, form) {
			return replacer.Replace(text)
		}
	}
	return text
}

// RedactBytes returns the bytes without secrets; they are the same slice if there is none.
func (r *Redactor) RedactBytes(b []byte) []byte {
	forms, replacer := r.state()
	for _, form := range forms {
		if bytes.Contains(b, []byte(form)) {
			return []byte(replacer.Replace(string(b)))
		}
	}
	return b
}

func (r *Redactor) state() ([]string, *strings.Replacer) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.forms, r.replacer
}

// formsOf lists how a secret may be written.
func formsOf(secret string) []string {
	if len(secret) < minSecret {
		return nil
	}
	forms := []string{secret}
	add := func(more ...string) {
		for _, form := range more {
			if len(form) >= minForm {
				forms = append(forms, form)
			}
		}
	}
	lower := hex.EncodeToString([]byte(secret))
	add(lower, strings.ToUpper(lower))
	add(url.QueryEscape(secret), url.PathEscape(secret), strings.ReplaceAll(url.QueryEscape(secret), "+", "%20"))
	add(jsonForms(secret)...)
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		add(base64Forms(encoding, secret)...)
	}
	if strings.Contains(secret, "\n") {
		for line := range strings.Lines(secret) {
			add(strings.TrimSpace(line)) // a key in PEM is printed line by line
		}
	}
	return forms
}

func jsonForms(secret string) []string {
	var forms []string
	for _, escapeHTML := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escapeHTML)
		if err := e.Encode(secret); err == nil { // a string always encodes
			forms = append(forms, b.String()[1:b.Len()-2]) // without the quotes and the line break
		}
	}
	return append(forms, strings.ReplaceAll(forms[len(forms)-1], "/", `\/`))
}

// base64Forms lists what is the same in the base64 of every text with the secret in it, for each of the three places where
// it can begin in a group of three bytes. "user:SECRET" of basic authentication is such a text.
func base64Forms(encoding *base64.Encoding, secret string) []string {
	var forms []string
	for before := range 3 {
		encoded := encoding.EncodeToString(append(make([]byte, before), secret...))
		from := (before*8 + 5) / 6 // the first character that the bytes before have no part in
		to := (before + len(secret)) * 8 / 6
		if from < to {
			forms = append(forms, encoded[from:to])
		}
	}
	return forms
}
