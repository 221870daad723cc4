package registry

import (
	"net/http"
	"strings"
)

// challenge is one way in which a registry wants to be told who asks (RFC 9110, section 11.6.1).
type challenge struct {
	scheme string // lower case: "bearer", "basic"
	params map[string]string
}

// pickChallenge returns the challenge to follow: the token server where there is one.
func pickChallenge(header http.Header) (challenge, bool) {
	var basic challenge
	for _, value := range header.Values("WWW-Authenticate") {
		for _, c := range parseChallenges(value) {
			if c.scheme == "bearer" && c.params["realm"] != "" {
				return c, true
			}
			if c.scheme == "basic" {
				basic = c
			}
		}
	}
	return basic, basic.scheme != ""
}

// parseChallenges reads one WWW-Authenticate header, which may hold several challenges. What does not parse ends it.
func parseChallenges(value string) []challenge {
	var all []challenge
	rest := value
	for {
		rest = strings.TrimLeft(rest, " \t,")
		word, after := cutToken(rest)
		if word == "" {
			return all
		}
		if trimmed := strings.TrimLeft(after, " \t"); strings.HasPrefix(trimmed, "=") && len(all) > 0 {
			param, left, ok := cutValue(strings.TrimLeft(trimmed[1:], " \t"))
			if !ok {
				return all
			}
			all[len(all)-1].params[strings.ToLower(word)] = param
			rest = left
			continue
		}
		all = append(all, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
		rest = after
	}
}

// cutToken splits off a token of RFC 9110, section 5.6.2.
func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// cutValue splits off a token or a quoted string. Registries leave characters unquoted that a token must not have, so
// that an unquoted value ends at a comma or a space only.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ", \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
