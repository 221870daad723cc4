package bucket

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// rootElement returns the name of the outermost element of a document, or "".
func rootElement(document string) string {
	for {
		start := strings.IndexByte(document, '<')
		if start < 0 {
			return ""
		}
		document = document[start+1:]
		if document == "" || document[0] != '?' && document[0] != '!' {
			break
		}
	}
	end := strings.IndexAny(document, " \t\r\n/>")
	if end < 0 {
		return ""
	}
	return document[:end]
}

// element returns the text of the first element of a name that holds nothing but text, or "".
func element(document, name string) string {
	open := "<" + name
	for {
		start := strings.Index(document, open)
		if start < 0 {
			return ""
		}
		document = document[start+len(open):]
		if document == "" || strings.IndexByte(" \t\r\n>", document[0]) < 0 {
			continue // a longer name, or an empty element
		}
		end := strings.IndexByte(document, '>')
		if end < 0 || strings.HasSuffix(document[:end], "/") {
			return ""
		}
		text, _, ok := strings.Cut(document[end+1:], "</"+name+">")
		if !ok || strings.IndexByte(text, '<') >= 0 {
			return ""
		}
		return unescape(text)
	}
}

// unescape resolves the entities that XML has by itself. An unknown one stays as it is.
func unescape(text string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "&")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		name, after, ok := strings.Cut(rest, ";")
		if c, known := entity(name); ok && known {
			out.WriteString(c)
			text = after
			continue
		}
		out.WriteByte('&')
		text = rest
	}
}

func entity(name string) (string, bool) {
	switch name {
	case "amp":
		return "&", true
	case "lt":
		return "<", true
	case "gt":
		return ">", true
	case "quot":
		return `"`, true
	case "apos":
		return "'", true
	}
	number, base := strings.TrimPrefix(name, "#"), 10
	if number == name {
		return "", false
	}
	if hex := strings.TrimPrefix(number, "x"); hex != number {
		number, base = hex, 16
	}
	n, err := strconv.ParseUint(number, base, 21)
	if err != nil || !utf8.ValidRune(rune(n)) {
		return "", false
	}
	return string(rune(n)), true
}

// completion is the document that ends a multipart upload.
func completion(tags []string) []byte {
	out := []byte(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	for i, tag := range tags {
		out = append(out, "<Part><PartNumber>"...)
		out = strconv.AppendInt(out, int64(i+1), 10)
		out = append(out, "</PartNumber><ETag>"...)
		for j := range len(tag) {
			switch c := tag[j]; c {
			case '&':
				out = append(out, "&amp;"...)
			case '<':
				out = append(out, "&lt;"...)
			case '>':
				out = append(out, "&gt;"...)
			default:
				out = append(out, c)
			}
		}
		out = append(out, "</ETag></Part>"...)
	}
	return append(out, "</CompleteMultipartUpload>"...)
}
