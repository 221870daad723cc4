package hostile_test

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"unicode"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

func testLeak(t *trial) {
	t.Parallel()
	saw := make(chan string, 1)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Private-Token")
		saw <- token
		w.Header().Set("X-Echo", token)
		io.WriteString(w, token)
	}))
	t.Cleanup(echo.Close)
	sp := spec("leak", sdk.KindCredential)
	sp.Allow = service.Grants{Hosts: []string{echo.URL}, Secrets: map[string]service.Secret{
		"token": {SecretSource: service.SecretSource{Env: canaryVariable}, Use: service.UseHeader},
	}}
	s := load(t, sp)
	_, err := s.ask(echo.URL)
	if token := <-saw; token != canary {
		t.Errorf("the server was sent %q", token)
	}
	e := t.refused(err, sdk.CodeInternal, "refused with *** ***")
	s.works()
	all := strings.Join([]string{s.heard(), err.Error(), e.Detail}, "\n")
	for _, form := range []string{
		canary, hex.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte(canary)),
		base64.StdEncoding.EncodeToString([]byte("user:" + canary))[:24],
	} {
		if strings.Contains(all, form) {
			t.Errorf("%q is in %s", form, all)
		}
	}
	for _, level := range []string{"debug", "info", "warning", "error"} {
		if !strings.Contains(all, level+" plugin hostile: the token is ***") {
			t.Errorf("at the level %s nothing was said: %s", level, all)
		}
	}
	t.happens("the host sends the secret and masks it in the answer: the module sees `***`, and so do logs of all levels and errors")
}

// obeyed are characters that a terminal may obey.
func obeyed(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\uFFFD' || unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

func testEscapes(t *trial) {
	t.Parallel()
	must(t, compile("escapes"))
	for _, where := range []string{"notes", "error", "panic", "exec", "path"} {
		s := load(t, spec("escapes", sdk.KindInstruction))
		b := newBench(t, s)
		write(t, b.context, "Dockerfile", "FROM scratch\nESCAPE "+where+"\n")
		_, err := b.build()
		if (err == nil) != (where == "notes") {
			t.Errorf("%s: %v", where, err)
		}
		shown := map[string]string{"progress": b.shown.String(), "report": s.heard(), "error": printed(err)}
		for what, text := range shown {
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "hint:") || strings.HasPrefix(line, "::") {
					t.Errorf("%s: the %s has a line of its own, %q", where, what, line)
				}
			}
			if bad := obeyed(text); bad != "" {
				t.Errorf("%s: the %s has %q: %q", where, what, bad, text)
			}
		}
		if !strings.Contains(s.heard(), "log ") || !strings.Contains(strings.Join([]string{shown["progress"], shown["error"]}, ""), "TRICK") {
			t.Errorf("%s: nothing was said: %q", where, shown)
		}
		s.works()
	}
	t.happens("control characters, and those that turn or hide text, become U+FFFD wherever a user reads them")
}

// printed is an error as the command line prints it.
func printed(err error) string {
	if err == nil {
		return ""
	}
	return host.Printable(err.Error()) + host.Excerpt(err) + host.Printable(host.Hint(err))
}
