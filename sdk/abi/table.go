package abi

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trowel-build/trowel/sdk"
)

// CheckConfig says why values cannot be sent as [HelloRequest.Config], which is made of string, bool, int64, float64, []any
// and map[string]any; nil if they can. What it complains of is sent as null.
func CheckConfig(values map[string]any) error {
	if problem := checkAny(values, 1, "config"); problem != "" {
		return &sdk.Error{Code: sdk.CodeInvalid, Message: problem}
	}
	return nil
}

func checkAny(v any, depth int, where string) string {
	if depth >= maxDepth {
		return where + " is too deep"
	}
	switch v := v.(type) {
	case nil, string, bool, int, int64, time.Time:
		return ""
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return where + " is not a finite number"
		}
		return ""
	case []any:
		for i, e := range v {
			if problem := checkAny(e, depth+1, where+"["+strconv.Itoa(i)+"]"); problem != "" {
				return problem
			}
		}
		return ""
	case []map[string]any:
		return checkAny(anySlice(v), depth, where)
	case map[string]any:
		for key, e := range v {
			if problem := checkAny(e, depth+1, where+"."+key); problem != "" {
				return problem
			}
		}
		return ""
	}
	return where + " is of a type that a configuration cannot have"
}

// anySlice turns what TOML libraries make of arrays of tables into the one type that there is for arrays.
func anySlice(tables []map[string]any) []any {
	list := make([]any, len(tables))
	for i := range tables {
		list[i] = tables[i]
	}
	return list
}

func appendTable(b []byte, table map[string]any) []byte { return appendAny(b, table, 1) }

// appendAny appends a value of a configuration. Floats always have a point or an exponent and whole numbers never, so that
// their types survive; there is no need for large ones to be strings then.
func appendAny(b []byte, v any, depth int) []byte {
	if depth >= maxDepth {
		return append(b, "null"...)
	}
	switch v := v.(type) {
	case string:
		return appendString(b, v)
	case bool:
		return appendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case float64:
		return appendFloat(b, v)
	case time.Time:
		return appendTime(b, v)
	case []any:
		return appendList(b, v, func(b []byte, e *any) []byte { return appendAny(b, *e, depth+1) })
	case []map[string]any:
		return appendAny(b, anySlice(v), depth)
	case map[string]any:
		start := len(b)
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			b = append(appendString(append(b, ','), key), ':')
			b = appendAny(b, v[key], depth+1)
		}
		return appendObject(b, start)
	}
	return append(b, "null"...)
}

func appendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return append(b, text...)
}

// decodeTable reads an object whose fields are not known beforehand. Fields that are null are absent.
func decodeTable(d *decoder) map[string]any {
	if !d.open('{') {
		return nil
	}
	table := map[string]any{}
	for d.field() {
		if d.items++; d.items > maxItems {
			d.fail("too many fields")
		}
		key := string(d.key)
		if d.null() {
			continue
		}
		table[key] = decodeAny(d)
	}
	return table
}

func decodeAny(d *decoder) any {
	switch d.peek() {
	case '"':
		return string(d.text())
	case '{':
		return decodeTable(d)
	case '[':
		list := decodeList(d, func(d *decoder, v *any) { *v = decodeAny(d) })
		if list == nil {
			list = []any{}
		}
		return list
	case 't', 'f':
		return decodeBool(d)
	case 'n':
		d.literal("null")
		return nil
	}
	raw, whole := d.number()
	if whole {
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return n
		}
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil && d.problem == "" {
		d.fail("number is too large")
	}
	return f
}
