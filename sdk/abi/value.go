package abi

import (
	"math"
	"strconv"
)

// maxExact is the largest whole number up to which JSON numbers are exact in every language; larger ones are strings.
const maxExact = 1 << 53

// appendObject ends an object of which each field was appended with a comma before it, from start on.
//
//go:noinline
func appendObject(b []byte, start int) []byte {
	if len(b) == start {
		return append(b, '{', '}')
	}
	b[start] = '{'
	return append(b, '}')
}

func appendList[T any](b []byte, list []T, item func([]byte, *T) []byte) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = item(b, &list[i])
	}
	return append(b, ']')
}

func appendStrings[T ~string](b []byte, list []T) []byte {
	return appendList(b, list, func(b []byte, s *T) []byte { return appendString(b, string(*s)) })
}

func appendInts(b []byte, list []int) []byte {
	return appendList(b, list, func(b []byte, n *int) []byte { return appendInt(b, int64(*n)) })
}

func appendInt(b []byte, n int64) []byte {
	if -maxExact <= n && n <= maxExact {
		return strconv.AppendInt(b, n, 10)
	}
	return append(strconv.AppendInt(append(b, '"'), n, 10), '"')
}

func appendBool(b []byte, v bool) []byte { return strconv.AppendBool(b, v) }

// appendKey appends the start of a field. This and the functions after it keep what is generated small, for it is in every
// plugin.
//
//go:noinline
func appendKey(b []byte, key string) []byte {
	b = append(append(b, ',', '"'), key...)
	return append(b, '"', ':')
}

// optionalString appends a field unless it is empty, as the two after it do.
//
//go:noinline
func optionalString(b []byte, key, v string) []byte {
	if v == "" {
		return b
	}
	return appendString(appendKey(b, key), v)
}

//go:noinline
func optionalInt(b []byte, key string, v int64) []byte {
	if v == 0 {
		return b
	}
	return appendInt(appendKey(b, key), v)
}

//go:noinline
func optionalBool(b []byte, key string, v bool) []byte {
	if !v {
		return b
	}
	return appendBool(appendKey(b, key), v)
}

func decodeList[T any](d *decoder, item func(*decoder, *T)) []T {
	var list []T
	for ok := d.open('[') && d.element(); ok; ok = d.element() {
		var v T
		item(d, &v)
		list = append(list, v)
	}
	return list
}

func decodeStrings[T ~string](d *decoder) []T {
	return decodeList(d, func(d *decoder, v *T) { *v = T(decodeString(d)) })
}

func decodeInts(d *decoder) []int {
	return decodeList(d, func(d *decoder, v *int) { *v = int(decodeInt(d, math.MinInt, math.MaxInt)) })
}

func decodePointer[T any](d *decoder, item func(*decoder, *T)) *T {
	if d.null() {
		return nil
	}
	v := new(T)
	item(d, v)
	return v
}

//go:noinline
func decodeString(d *decoder) string {
	if d.null() {
		return ""
	}
	return string(d.text())
}

func decodeBytes(d *decoder) []byte {
	if d.null() {
		return nil
	}
	out, ok := decodeBase64(d.text())
	if !ok {
		d.fail("want base64")
	}
	return out
}

//go:noinline
func decodeBool(d *decoder) bool {
	switch d.peek() {
	case 't':
		d.literal("true")
		return d.problem == ""
	case 'f':
		d.literal("false")
	case 'n':
		d.literal("null")
	default:
		d.fail("want true or false")
	}
	return false
}

// decodeInt reads a whole number, or a string that is one.
func decodeInt(d *decoder, least, most int64) int64 {
	var n int64
	var err error
	switch d.peek() {
	case 'n':
		d.literal("null")
		return 0
	case '"':
		n, err = strconv.ParseInt(string(d.text()), 10, 64)
	default:
		raw, whole := d.number()
		if d.problem != "" {
			return 0
		}
		if n, err = strconv.ParseInt(string(raw), 10, 64); !whole {
			n, err = wholeFloat(string(raw))
		}
	}
	if err != nil || n < least || n > most {
		d.fail("want a whole number that is not too large")
		return 0
	}
	return n
}

// wholeFloat reads a whole number that is written in another way, such as 1.0 or 1e3.
func wholeFloat(text string) (int64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err == nil && (f != math.Trunc(f) || math.Abs(f) > maxExact) {
		err = strconv.ErrRange
	}
	if err != nil {
		return 0, err
	}
	return int64(f), nil
}
