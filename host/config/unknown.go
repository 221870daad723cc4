package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// unknownKey is the error for a key that means nothing: with its line and the nearest key that does.
func unknownKey(name, text string, key toml.Key) error {
	where := name
	if line := lineOf(text, key); line > 0 {
		where = fmt.Sprintf("%s:%d", name, line)
	}
	wrong := 0 // the first part that means nothing
	for wrong < len(key)-1 {
		if keys := validKeys(key[:wrong]); keys != nil && !slices.Contains(keys, key[wrong]) {
			break
		}
		wrong++
	}
	if best := Nearest(key[wrong], validKeys(key[:wrong])); best != "" {
		return fmt.Errorf("%s: unknown key %q: did you mean %q?", where, key.String(), best)
	}
	return fmt.Errorf("%s: unknown key %q", where, key.String())
}

// validKeys are the keys that a table may hold, read off the settings' own types.
func validKeys(table toml.Key) []string {
	t := reflect.TypeFor[Config]()
	for _, name := range table {
		if t.Kind() == reflect.Map {
			t = t.Elem()
			continue
		}
		field, ok := fieldByKey(t, name)
		if !ok {
			return nil
		}
		if t = field.Type; t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for _, field := range reflect.VisibleFields(t) {
		if tag := field.Tag.Get("toml"); tag != "" && tag != "-" {
			keys = append(keys, tag)
		}
	}
	return keys
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	if t.Kind() != reflect.Struct {
		return reflect.StructField{}, false
	}
	for _, field := range reflect.VisibleFields(t) {
		if field.Tag.Get("toml") == key {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

// Nearest is the word with the least edit distance, if it is near enough to be a slip; else it is empty.
func Nearest(word string, among []string) string {
	best, least := "", len(word)/2+1
	for _, w := range among {
		if d := distance(word, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// lineOf finds the line that a key stands in, or its table's; 0 if neither is found. The TOML library tells no
// positions of keys that it decoded.
func lineOf(text string, key toml.Key) int {
	table, line, fallback := "", 0, 0
	for raw := range strings.Lines(text) {
		line++
		s := strings.TrimSpace(raw)
		if strings.HasPrefix(s, "[") {
			header, _, _ := strings.Cut(strings.Trim(s, "["), "]")
			table = plain(header)
			if table == plain(key.String()) || table == plain(key[:len(key)-1].String()) && fallback == 0 {
				fallback = line
			}
			if table == plain(key.String()) {
				return line
			}
			continue
		}
		name, _, isKey := strings.Cut(s, "=")
		if !isKey {
			continue
		}
		full := plain(name)
		if table != "" {
			full = table + "." + full
		}
		if full == plain(key.String()) {
			return line
		}
	}
	return fallback
}

// plain is a dotted key without quotes and blanks, for comparison.
func plain(key string) string {
	return strings.NewReplacer(`"`, "", "'", "", " ", "", "\t", "").Replace(key)
}
