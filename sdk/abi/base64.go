package abi

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// base64Values has the value of each character of the alphabet, and noBase64 for the others. The package encoding/base64
// would bring reflection into guests.
var base64Values = func() (values [256]byte) {
	for i := range values {
		values[i] = noBase64
	}
	for i := range len(base64Alphabet) {
		values[base64Alphabet[i]] = byte(i)
	}
	return values
}()

const noBase64 = 0xff

// appendBase64 appends v as a string in base64 with padding (RFC 4648, section 4).
func appendBase64(b, v []byte) []byte {
	b = append(b, '"')
	for ; len(v) >= 3; v = v[3:] {
		n := uint(v[0])<<16 | uint(v[1])<<8 | uint(v[2])
		b = append(b, base64Alphabet[n>>18], base64Alphabet[n>>12&63], base64Alphabet[n>>6&63], base64Alphabet[n&63])
	}
	switch len(v) {
	case 1:
		b = append(b, base64Alphabet[v[0]>>2], base64Alphabet[v[0]<<4&63], '=', '=')
	case 2:
		n := uint(v[0])<<8 | uint(v[1])
		b = append(b, base64Alphabet[n>>10], base64Alphabet[n>>4&63], base64Alphabet[n<<2&63], '=')
	}
	return append(b, '"')
}

// decodeBase64 is strict: padding is needed, and bits that stand for nothing are zero.
func decodeBase64(text []byte) ([]byte, bool) {
	if len(text)%4 != 0 {
		return nil, false
	}
	if len(text) == 0 {
		return nil, true
	}
	padding := 0
	for padding < 2 && text[len(text)-1-padding] == '=' {
		padding++
	}
	out := make([]byte, len(text)/4*3)
	whole := len(text)
	if padding > 0 {
		whole -= 4
	}
	n := 0
	for i := 0; i < whole; i, n = i+4, n+3 {
		in := text[i : i+4]
		a, b, c, d := base64Values[in[0]], base64Values[in[1]], base64Values[in[2]], base64Values[in[3]]
		if (a|b|c|d)&0xc0 != 0 {
			return nil, false
		}
		to := out[n : n+3]
		to[0], to[1], to[2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
	}
	out = out[:n]
	if padding == 0 {
		return out, true
	}
	a, b, c := base64Values[text[whole]], base64Values[text[whole+1]], byte(0)
	if padding == 1 {
		c = base64Values[text[whole+2]]
	}
	if (a|b|c)&0xc0 != 0 || padding == 2 && b&15 != 0 || padding == 1 && c&3 != 0 {
		return nil, false
	}
	if out = append(out, a<<2|b>>4); padding == 1 {
		out = append(out, b<<4|c>>2)
	}
	return out, true
}
