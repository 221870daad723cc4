package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

var (
	// ErrNotFound says that the registry does not have what was asked for.
	ErrNotFound = errors.New("not found")
	// ErrDenied says that the registry, or its token server, refused access.
	ErrDenied = errors.New("access denied")
)

// maxErrorBody is how much of an answer is read to learn why a request was refused.
const maxErrorBody = 64 << 10

// Error is a request that a registry did not fulfil. It holds no credential and no query of an address.
type Error struct {
	Op      string // what was to be done, such as "pull blob"
	Ref     string // to what: a repository, reference or registry
	Status  int    // HTTP status; 0 if there was no answer, or the answer's content is at fault
	Code    string // the registry's code, such as "MANIFEST_UNKNOWN"
	Message string // the registry's words, shortened
	Hint    string // what the user can do about it; not part of the error's text
	Err     error  // the cause, where it is not the status
	Cure    Cure   // what the hint is about, for who has other words for it

	retryAfter time.Duration
}

// Cure is a setting that a failed request could do with, of the registry that the host is.
type Cure struct {
	Host    string
	Setting Setting
}

// Setting is a setting of a registry, by its key in trowel.toml.
type Setting string

// The settings that a failed request may lack.
const (
	CureTLS        Setting = "tls"
	CureAuthority  Setting = "ca"
	CureClientCert Setting = "client-cert"
)

// Error returns the text, such as `pull manifest "docker.io/library/x:1": not found (MANIFEST_UNKNOWN: no such tag)`.
func (e *Error) Error() string {
	return e.Op + " " + strconv.Quote(e.Ref) + ": " + e.reason()
}

func (e *Error) reason() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	reason := statusReason(e.Status)
	switch {
	case e.Code != "" && e.Message != "":
		return reason + " (" + e.Code + ": " + e.Message + ")"
	case e.Code != "" || e.Message != "":
		return reason + " (" + e.Code + e.Message + ")"
	}
	return reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an Error match [ErrNotFound] and [ErrDenied] by its status.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrDenied:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
	}
	return false
}

func statusReason(status int) string {
	switch status {
	case http.StatusNotFound:
		return ErrNotFound.Error()
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrDenied.Error()
	case http.StatusTooManyRequests:
		return "too many requests"
	}
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("the registry answered %d %s", status, text)
	}
	return fmt.Sprintf("the registry answered %d", status)
}

// refusal makes an Error of an answer that is not a success, and closes its body. The words of another host than the
// registry, reached by a redirect, are left out: they could be those of a service only this machine can reach.
func (h *host) refusal(resp *http.Response, op, ref string) *Error {
	e := &Error{Op: op, Ref: ref, Status: resp.StatusCode, retryAfter: h.retryAfter(resp)}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	resp.Body.Close()
	if err == nil && h.owns(resp.Request.URL) {
		e.Code, e.Message = parseErrorBody(body)
		for _, secret := range secretsOf(resp.Request.Header.Get("Authorization")) {
			e.Message = redact(e.Message, secret)
		}
		e.Code, e.Message = tidy(e.Code, 60), tidy(e.Message, 600)
	}
	if resp.StatusCode == http.StatusTooManyRequests && h.name == dockerHub {
		e.Hint = "Docker Hub limits pulls: log in, or set a mirror under [registry.\"docker.io\"] in trowel.toml"
	}
	return e
}

// parseErrorBody reads the body that the distribution specification gives to errors.
func parseErrorBody(body []byte) (code, message string) {
	var doc struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
		Details string `json:"details"` // token servers
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return "", ""
	}
	if len(doc.Errors) > 0 {
		return doc.Errors[0].Code, doc.Errors[0].Message
	}
	if doc.Details != "" {
		return "", doc.Details
	}
	return "", doc.Message
}

// tidy makes the registry's words fit for one line of a log.
func tidy(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// redact takes a secret out of text that came from outside: a registry may repeat what it was sent.
func redact(text, secret string) string {
	if secret == "" {
		return text
	}
	return strings.ReplaceAll(text, secret, "[redacted]")
}
