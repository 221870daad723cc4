package service

import (
	"strings"

	"github.com/trowel-build/trowel/sdk"
)

const (
	referenceStart = "{{secret:"
	referenceEnd   = "}}"
)

// hasReference says whether text refers to a secret.
func hasReference(text string) bool { return strings.Contains(text, referenceStart) }

// fill puts what value returns in the place of each reference {{secret:NAME}}. What it puts there is not looked at again.
func fill(text string, value func(name string) (string, error)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, referenceStart)
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, referenceEnd)
		if !closed || !isSecretName(name) {
			return "", fault(sdk.CodeInvalid, "a reference to a secret must look like {{secret:NAME}}, with letters, digits, dash and underscore")
		}
		filled, err := value(name)
		if err != nil {
			return "", err
		}
		b.WriteString(filled)
		text = after
	}
}

// only returns the name of the secret that text is a reference to, and nothing else.
func only(text string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(text, referenceStart)
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(rest, referenceEnd)
	return name, ok && isSecretName(name)
}
