package abi

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// plainByte says which bytes stand for themselves in a string, whatever is around them.
var plainByte = func() (plain [256]bool) {
	for c := range utf8.RuneSelf {
		plain[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return plain
}()

// plainRun is how many bytes at the start of b stand for themselves. It looks at eight at once: strings are most of what a plugin
// reads and writes, and one that is interpreted pays for each step of a loop.
func plainRun(b []byte) int {
	const ones, highest = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		c := b[n : n+8]
		w := uint64(c[0]) | uint64(c[1])<<8 | uint64(c[2])<<16 | uint64(c[3])<<24 |
			uint64(c[4])<<32 | uint64(c[5])<<40 | uint64(c[6])<<48 | uint64(c[7])<<56
		// The highest bit of a byte shows where it is no ASCII, below a space, a quote or a backslash.
		if (w|(w-ones*' ')|((w^ones*'"')-ones)|((w^ones*'\\')-ones))&highest != 0 {
			break
		}
	}
	for n < len(b) && plainByte[b[n]] {
		n++
	}
	return n
}

// escapeLength is the length of the escape that b starts with, 0 if it is none.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendUnescaped appends what the inside of a string stands for, whose escapes were checked. Half a surrogate pair and what
// is not UTF-8 become U+FFFD.
func appendUnescaped(b, raw []byte) []byte {
	for i := 0; i < len(raw); {
		start := i
		i += plainRun(raw[i:])
		if b = append(b, raw[start:i]...); i == len(raw) {
			break
		}
		if raw[i] != '\\' {
			r, n := utf8.DecodeRune(raw[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		if raw[i+1] != 'u' {
			b = append(b, unescaped(raw[i+1]))
			i += 2
			continue
		}
		r, n := unescapedRune(raw[i:])
		b = utf8.AppendRune(b, r)
		i += n
	}
	return b
}

func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // quote, backslash and slash
}

// unescapedRune reads \uXXXX, or two of them that are a surrogate pair.
func unescapedRune(raw []byte) (r rune, n int) {
	r, _ = hex4(raw[2:])
	if r < 0xd800 || r > 0xdfff {
		return r, 6
	}
	if r <= 0xdbff && len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u' {
		if low, ok := hex4(raw[8:]); ok && low >= 0xdc00 && low <= 0xdfff {
			return 0x10000 + (r-0xd800)<<10 + (low - 0xdc00), 12
		}
	}
	return utf8.RuneError, 6
}

// appendString appends a string. What is not UTF-8 in it becomes U+FFFD, since JSON has nothing else to offer.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := len(b)
	b = append(b, s...)
	done := plainRun(b[start:])
	if done == len(s) {
		return append(b, '"')
	}
	b = b[:start+done]
	for i := done; i < len(s); {
		c := s[i]
		if plainByte[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = utf8.AppendRune(append(b, s[done:i]...), r)
				done = i + 1
			}
			i += n
			continue
		}
		b = appendEscape(append(b, s[done:i]...), c)
		i++
		done = i
	}
	return append(append(b, s[done:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
