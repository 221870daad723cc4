package objects

import (
	"strconv"
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

const maxKey = 200

// recordName is the object of a record, or false if the key is none.
func recordName(key sdk.Key) (string, bool) {
	if key == "" || len(key) > maxKey {
		return "", false
	}
	name := []byte(key)
	for i, c := range name {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		case c == '/':
			name[i] = '_'
		case c == ':':
			name[i] = '~'
		default:
			return "", false
		}
	}
	return "records/" + string(name), true
}

// BlobName is the object of a blob, or false if the digest is none of SHA-256.
func BlobName(digest sdk.Digest) (string, bool) {
	sum, ok := strings.CutPrefix(string(digest), "sha256:")
	if !ok || len(sum) != 64 || !hexadecimal(sum) {
		return "", false
	}
	return "blobs/sha256/" + sum, true
}

// named is something and its object's name.
type named[T ~string] struct {
	item   T
	object string
}

// unique names each item once. Of what has no name there is no object.
func unique[T ~string](items []T, name func(T) (string, bool)) []named[T] {
	seen := map[T]bool{}
	var all []named[T]
	for _, item := range items {
		if object, ok := name(item); ok && !seen[item] {
			seen[item] = true
			all = append(all, named[T]{item, object})
		}
	}
	return all
}

// hexadecimal says whether s has no other characters than digits and letters from a to f.
func hexadecimal(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || '9' < c) && (c < 'a' || 'f' < c) {
			return false
		}
	}
	return true
}

// quote keeps what an error quotes readable.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
