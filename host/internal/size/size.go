// Package size reads sizes as people write them.
package size

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a number of bytes, written as "512MiB", "2GB" or a plain number.
type Bytes int64

// UnmarshalText reads a size.
func (s *Bytes) UnmarshalText(text []byte) error {
	n, err := Parse(string(text))
	*s = n
	return err
}

// Parse reads a size such as "512MiB", "2GB", "10g" or "4096". The units k, m, g and t without an "iB" are powers of 1024
// too, as docker has them; those with a "B" alone are powers of 1000.
func Parse(text string) (Bytes, error) {
	return parse(text, factorOf)
}

// ParseDocker reads a size as flags of docker have it: the units with a "B" alone are powers of 1024 as well.
func ParseDocker(text string) (Bytes, error) {
	return parse(text, func(unit string) (float64, bool) {
		if len(unit) == 2 {
			unit = strings.TrimSuffix(unit, "b")
		}
		return factorOf(unit)
	})
}

func parse(text string, factorOf func(unit string) (float64, bool)) (Bytes, error) {
	number := strings.TrimRight(text, "kKmMgGtTiIbB ")
	n, err := strconv.ParseFloat(number, 64)
	factor, ok := factorOf(strings.ToLower(strings.TrimSpace(text[len(number):])))
	if err != nil || !ok || n < 0 || n*factor >= 1<<62 {
		return 0, fmt.Errorf("size %q: want a number with an optional unit, such as 512MiB or 20GB", text)
	}
	return Bytes(n * factor), nil
}

// factorOf is how many bytes a unit has.
func factorOf(unit string) (float64, bool) {
	units := map[string]float64{
		"": 1, "b": 1,
		"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
		"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	}
	factor, ok := units[unit]
	return factor, ok
}
