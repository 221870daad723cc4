package service_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/trowel-build/trowel/host/plugin/service"
	"github.com/trowel-build/trowel/sdk"
)

func TestClean(t *testing.T) {
	t.Parallel()
	const bad = "\uFFFD"
	for text, want := range map[string]string{
		"plain text\twith a tab":   "plain text\twith a tab",
		"für Bücher, 日本語, \u00a0é": "für Bücher, 日本語, \u00a0é",
		"\x1b[31mred\x1b[0m":       bad + "[31mred" + bad + "[0m",
		"\x1b]0;title\x07":         bad + "]0;title" + bad,
		"\u009b31m":                bad + "31m",
		"a\x9b31m":                 "a" + bad + "31m", // the C1 control as a byte is not UTF-8
		"a\nb\r\nc\vd\fe":          "a" + bad + "b" + bad + bad + "c" + bad + "d" + bad + "e",
		"\x00\x08\x7f":             bad + bad + bad,
		"a\u202egnp.exe":           "a" + bad + "gnp.exe",
		"\u2066x\u2069\u061c":      bad + "x" + bad + bad,
		"ad\u200bmin\ufeff\u2060":  "ad" + bad + "min" + bad + bad,
		"a\u2028b\u2029c\u0085":    "a" + bad + "b" + bad + "c" + bad,
		"\U000e0041\U000e0101":     bad + bad,
		"\ue000\u115f\u3164":       bad + bad + bad,
		"\xff\xfe\xc3":             bad + bad + bad,
		"\xed\xa0\x80":             bad + bad + bad, // a surrogate
		"":                         "",
	} {
		if diff := cmp.Diff(want, service.Clean(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

// TestOneLine holds that no line of an error's text stands alone, where it could pass for one of a build's.
func TestOneLine(t *testing.T) {
	t.Parallel()
	cause := &sdk.Error{Code: sdk.CodeInvalid, Message: "first\n#1 DONE 0.1s\r\n\n\tlast\r#2\n"}
	err := service.OneLine(cause)
	if diff := cmp.Diff("first; #1 DONE 0.1s; last\uFFFD#2", err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"\x1b[2J", "a\u202eb", "\xff", "\U000e0041", "plain", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := service.Clean(text)
		if !utf8.ValidString(got) {
			t.Fatalf("%q becomes %q, which is not UTF-8", text, got)
		}
		if again := service.Clean(got); again != got {
			t.Fatalf("%q becomes %q and then %q", text, got, again)
		}
		if utf8.RuneCountInString(got) != utf8.RuneCountInString(text) {
			t.Fatalf("%q becomes %q, of another length", text, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Bidi_Control, r) {
				t.Fatalf("%q becomes %q, which has %U", text, got, r)
			}
		}
	})
}

func TestLogLines(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.services(service.Grants{})
	s.Log(sdk.LevelInfo, "one\n\x1b[2Jtwo\r\n\n\rthree\n")
	s.Log("shout", "four")
	s.SDK().Log.Log(t.Context(), sdk.LevelDebug, "five")
	s.Log(sdk.LevelError, "")
	want := "info: one\ninfo: \uFFFD[2Jtwo\ninfo: \uFFFDthree\ninfo: four\ndebug: five"
	if diff := cmp.Diff(want, l.log()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLogCutsLongMessages(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.services(service.Grants{})
	s.Log(sdk.LevelInfo, "x"+strings.Repeat("é", 3000))
	if want := "info: x" + strings.Repeat("é", 2047) + " (1906 more bytes)"; l.log() != want {
		t.Errorf("logged %d bytes: …%s", len(l.log()), l.log()[len(l.log())-40:])
	}
}

// TestLogRedactsBeforeItCuts has a secret where the message is cut.
func TestLogRedactsBeforeItCuts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	s := l.services(service.Grants{})
	s.Redactor().Add("correct-horse-battery")
	s.Log(sdk.LevelInfo, strings.Repeat("x", 4090)+"correct-horse-battery")
	if strings.Contains(l.log(), "corr") {
		t.Errorf("logged …%s", l.log()[4080:])
	}
}

func TestLogFloods(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	now := time.Unix(1, 0)
	s := l.services(service.Grants{}, func(o *service.Options) { o.Now = func() time.Time { return now } })
	lines := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := len(l.logged)
		return n
	}
	for i := range 1000 {
		s.Log(sdk.LevelInfo, fmt.Sprint("line ", i))
	}
	if n := lines(); n != 200 {
		t.Errorf("%d lines in a second, want 200", n)
	}
	now = now.Add(time.Second)
	s.Log(sdk.LevelInfo, "after")
	if want := "warning: 800 more messages dropped: a plugin may log 200 lines a second and 1024 KiB a minute\ninfo: after"; !strings.HasSuffix(l.log(), "\n"+want) {
		t.Errorf("the log ends with %q", l.log()[len(l.log())-120:])
	}
	before := lines()
	for range 20 { // one message of many lines is many lines
		now = now.Add(time.Second)
		s.Log(sdk.LevelInfo, strings.Repeat("a\n", 2000))
	}
	if n := lines() - before; n > 20*202 {
		t.Errorf("%d lines in 20 seconds", n)
	}
	now = now.Add(time.Minute)
	l.mu.Lock()
	l.logged = nil
	l.mu.Unlock()
	for range 400 { // 1.6 MiB in some seconds
		now = now.Add(20 * time.Millisecond)
		s.Log(sdk.LevelInfo, strings.Repeat("x", 4096))
	}
	if n := len(l.log()); n > 1<<20+8<<10 || n < 1<<20-8<<10 {
		t.Errorf("%d bytes in a minute, want about 1 MiB", n)
	}
	s.Log(sdk.LevelInfo, strings.Repeat("x", 2<<20))
	s.Close()
	if !strings.Contains(l.log(), "more messages dropped") {
		t.Error("Close does not tell what was dropped")
	}
}
