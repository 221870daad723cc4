package progress

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSanitize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in, keep, drop string
	}{
		{"text", "a\tb – 漢", "a\tb – 漢", "a\tb – 漢"},
		{"colour", "\x1b[1;31mred\x1b[m x", "\x1b[1;31mred\x1b[m x\x1b[0m", "red x"},
		{"cursor", "a\x1b[2Jb\x1b[10;10Hc", "a\ufffdb\ufffdc", "a\ufffdb\ufffdc"},
		{"private", "a\x1b[?25lb", "a\ufffdb", "a\ufffdb"},
		{"not a colour", "a\x1b[>4mb", "a\ufffdb", "a\ufffdb"},
		{"title ended by BEL", "a\x1b]0;evil\ab", "a\ufffdb", "a\ufffdb"},
		{"title ended by ST", "a\x1b]0;evil\x1b\\b", "a\ufffdb", "a\ufffdb"},
		{"string without end", "a\x1bPevil", "a\ufffd", "a\ufffd"},
		{"string cut by a sequence", "\x1b]0;x\x1b[2Jb", "\ufffd\ufffdb", "\ufffd\ufffdb"},
		{"escape at the end", "a\x1b", "a\ufffd", "a\ufffd"},
		{"escape before a rune", "\x1bé", "\ufffdé", "\ufffdé"},
		{"unfinished colour", "\x1b[31", "\ufffd", "\ufffd"},
		{"colour with a control inside", "\x1b[3\x1b[2Jm", "\ufffd\ufffdm", "\ufffd\ufffdm"},
		{"C1 CSI", "a\u009b2Jb", "a\ufffd2Jb", "a\ufffd2Jb"},
		{"raw C1", "a\x9b2Jb", "a\ufffd2Jb", "a\ufffd2Jb"},
		{"control", "a\x00\b\x7fb", "a\ufffd\ufffd\ufffdb", "a\ufffd\ufffd\ufffdb"},
		{"bidirectional", "a\u202eb\u2066", "a\ufffdb\ufffd", "a\ufffdb\ufffd"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.keep, sanitize(test.in, keepColours)); diff != "" {
				t.Errorf("keeping colours (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.drop, sanitize(test.in, dropColours)); diff != "" {
				t.Errorf("dropping colours (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever bytes come, nothing but SGR sequences gets through, and nothing at all where colours are dropped.
func FuzzSanitize(f *testing.F) {
	f.Add("a\x1b[31mb\x1b[2J\x1b]0;t\a\u009b\x9b")
	f.Fuzz(func(t *testing.T, text string) {
		if out := sanitize(text, dropColours); strings.ContainsFunc(out, unsafeRune) {
			t.Errorf("%q became %q", text, out)
		}
		for out := sanitize(text, keepColours); out != ""; {
			at := strings.IndexFunc(out, unsafeRune)
			if at < 0 {
				break
			}
			size := escapeLength(out[at:])
			if !setsColour(out[at : at+size]) {
				t.Fatalf("%q kept %q", text, out[at:at+size])
			}
			out = out[at+size:]
		}
	})
}

func TestLineBuffer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", maxLine) // twice the bytes, and a cut would fall inside a rune
	tests := []struct {
		name string
		in   []string
		want []string
	}{
		{"newlines", []string{"a\nb\n"}, []string{"a", "b"}},
		{"cut anywhere", []string{"a", "b\nc", "d"}, []string{"ab", "cd"}},
		{"carriage returns", []string{"1%\r2%\r\n3"}, []string{"1%", "2%", "3"}},
		{"return and newline apart", []string{"a\r", "\nb\n"}, []string{"a", "b"}},
		{"empty lines", []string{"\n\na\n"}, []string{"", "", "a"}},
		{"return at the end", []string{"a\r", "b"}, []string{"a", "b"}},
		{"long", []string{"x" + long + "\n"}, []string{"x" + long[:maxLine-2], long[maxLine-2 : 2*maxLine-2], long[2*maxLine-2:]}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var buffer lineBuffer
			var got []string
			emit := func(line string) { got = append(got, line) }
			for _, piece := range test.in {
				buffer.add([]byte(piece), emit)
			}
			buffer.flush(emit)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	got := []string{
		formatBytes(999), formatBytes(1000), formatBytes(999_949), formatBytes(999_950), formatBytes(5_000_000_000),
		formatRate(1_500_000, time.Second/2), formatRate(10, 0),
		formatSeconds(-time.Second), formatSeconds(90 * time.Second), formatSeconds(700 * time.Second),
	}
	want := []string{"999B", "1.0kB", "999.9kB", "1.0MB", "5.0GB", "3.0MB/s", "", "0.0s", "90.0s", "11m40s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("figures (-want +got):\n%s", diff)
	}
}
