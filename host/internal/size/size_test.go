package size

import "testing"

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{"0": 0, "4096": 4096, "10g": 10 << 30, "512MiB": 512 << 20, "2 GB": 2e9, "1.5k": 1536} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]Bytes{"1GB": 1 << 30, "1g": 1 << 30, "1gib": 1 << 30, "64kb": 64 << 10, "10b": 10, "10": 10} {
		if got, err := ParseDocker(text); err != nil || got != want {
			t.Errorf("ParseDocker(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "12 parsecs", "1e40g", "10gg"} {
		if got, err := ParseDocker(text); err == nil {
			t.Errorf("ParseDocker(%q) = %d", text, got)
		}
		if got, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %d", text, got)
		}
	}
}
