package abi

import (
	"strconv"
	"unicode/utf8"

	"github.com/trowel-build/trowel/sdk"
)

// What a message may be at most, so that a few bytes of an untrusted one cannot cost much memory.
const (
	maxDepth = 64      // of arrays and objects in each other
	maxItems = 1 << 18 // elements of all arrays of a message
)

// decoder reads JSON as RFC 8259 has it and nothing else. It keeps its first problem; from then on it sees the end of its
// input, so that callers need not look at each step.
type decoder struct {
	data    []byte
	pos     int
	key     []byte // of the field that was read last
	scratch []byte // of the string that was unescaped last
	depth   int
	items   int
	first   bool // nothing of the array or object was read so far
	problem string
	at      int // where the problem is
}

func (d *decoder) fail(problem string) {
	if d.problem == "" {
		d.problem, d.at = problem, d.pos
	}
	d.pos = len(d.data)
}

// finish is the error of decoding a message of the name, which must be all there is.
func (d *decoder) finish(name string) error {
	if d.peek(); d.pos < len(d.data) {
		d.fail("more follows")
	}
	if d.problem == "" {
		return nil
	}
	return &sdk.Error{
		Code:    sdk.CodeInvalid,
		Message: "decode " + name + ": byte " + strconv.Itoa(d.at) + ": " + d.problem,
	}
}

// peek returns the next byte that is not white space; 0 at the end.
func (d *decoder) peek() byte {
	for ; d.pos < len(d.data); d.pos++ {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// literal reads a word.
func (d *decoder) literal(word string) {
	if len(d.data)-d.pos < len(word) || string(d.data[d.pos:d.pos+len(word)]) != word {
		d.fail("want " + word)
		return
	}
	d.pos += len(word)
}

// null reads a null, if it is one.
func (d *decoder) null() bool {
	if d.peek() != 'n' {
		return false
	}
	d.literal("null")
	return true
}

// open reads the start of an array or object. It is false for null and for what is neither.
func (d *decoder) open(start byte) bool {
	c := d.peek()
	switch {
	case c == 'n':
		d.literal("null")
		return false
	case c != start:
		d.fail("want " + string(rune(start)))
		return false
	case d.depth == maxDepth:
		d.fail("too deep")
		return false
	}
	d.pos++
	d.depth++
	d.first = true
	return true
}

// more says whether another element or field follows, and reads up to it, or else the end.
func (d *decoder) more(end byte) bool {
	c := d.peek()
	if d.problem != "" {
		return false
	}
	first := d.first
	d.first = false
	switch {
	case c == end:
		d.pos++
		d.depth--
		return false
	case first:
		return true
	case c == ',':
		d.pos++
		return true
	}
	d.fail("want , or " + string(rune(end)))
	return false
}

// element is more for arrays.
func (d *decoder) element() bool {
	if !d.more(']') {
		return false
	}
	if d.items++; d.items > maxItems {
		d.fail("too many elements")
		return false
	}
	return true
}

// field is more for objects, and reads the name of the field as key.
func (d *decoder) field() bool {
	if !d.more('}') {
		return false
	}
	d.key = d.text()
	if d.peek() != ':' {
		d.fail("want :")
		return false
	}
	d.pos++
	return true
}

// text reads a string. What it returns holds until the next one is read.
func (d *decoder) text() []byte {
	if d.peek() != '"' {
		d.fail("want a string")
		return nil
	}
	raw, plain := d.scanString()
	if plain {
		return raw
	}
	d.scratch = appendUnescaped(d.scratch[:0], raw)
	return d.scratch
}

// scanString reads a string and checks its escapes. It is plain if it stands for itself.
func (d *decoder) scanString() (raw []byte, plain bool) {
	start := d.pos + 1
	ascii, escaped := true, false
	for i := start; i < len(d.data); i++ {
		if i += plainRun(d.data[i:]); i == len(d.data) {
			break
		}
		switch c := d.data[i]; {
		case c == '"':
			d.pos = i + 1
			raw = d.data[start:i]
			return raw, !escaped && (ascii || utf8.Valid(raw))
		case c == '\\':
			n := escapeLength(d.data[i:])
			if n == 0 {
				d.pos = i
				d.fail("bad escape")
				return nil, true
			}
			escaped = true
			i += n - 1
		case c < ' ':
			d.pos = i
			d.fail("control character in a string")
			return nil, true
		default:
			ascii = false
		}
	}
	d.pos = len(d.data)
	d.fail("string without end")
	return nil, true
}

// skip reads any value.
func (d *decoder) skip() {
	switch c := d.peek(); c {
	case '{':
		for ok := d.open('{') && d.field(); ok; ok = d.field() {
			d.skip()
		}
	case '[':
		for ok := d.open('[') && d.more(']'); ok; ok = d.more(']') {
			d.skip()
		}
	case '"':
		d.scanString()
	case 't':
		d.literal("true")
	case 'f':
		d.literal("false")
	case 'n':
		d.literal("null")
	default:
		d.number()
	}
}

// number reads a number and says whether it is written as a whole one.
func (d *decoder) number() (raw []byte, whole bool) {
	d.peek()
	start := d.pos
	if d.next('-') {
		d.pos++
	}
	if d.next('0') {
		d.pos++
	} else if d.digits() == 0 {
		d.fail("want a value")
		return nil, true
	}
	whole = true
	if d.next('.') {
		whole = false
		d.pos++
		if d.digits() == 0 {
			d.fail("want a digit")
		}
	}
	if d.next('e') || d.next('E') {
		whole = false
		d.pos++
		if d.next('+') || d.next('-') {
			d.pos++
		}
		if d.digits() == 0 {
			d.fail("want a digit")
		}
	}
	if d.problem != "" {
		return nil, true
	}
	return d.data[start:d.pos], whole
}

// next says whether the next byte is c.
func (d *decoder) next(c byte) bool { return d.pos < len(d.data) && d.data[d.pos] == c }

func (d *decoder) digits() int {
	start := d.pos
	for d.pos < len(d.data) && '0' <= d.data[d.pos] && d.data[d.pos] <= '9' {
		d.pos++
	}
	return d.pos - start
}
