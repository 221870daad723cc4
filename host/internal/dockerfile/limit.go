package dockerfile

import (
	"fmt"
	"math"
	"regexp"
	"strings"
)

const (
	// maxWord bounds what one word expands to. A process can be given no variable of more than 128 KiB.
	maxWord = 1 << 20
	// maxExpansion bounds what the words of a stage expand to, all together.
	maxExpansion = 256 << 20
)

// metered bounds what is put into a word, so that a few lines that double a variable do not fill memory. The values are
// counted before they are put together: once they are too much, all others are empty, and what was made of them is
// thrown away.
type metered struct {
	Variables
	left int
}

// meter allows for a word what it may take.
func meter(word string, vars Variables) *metered { return &metered{vars, allowance(word)} }

// Get is the value of a variable.
func (m *metered) Get(name string) (string, bool) {
	value, ok := m.Variables.Get(name)
	if m.left -= len(value); m.left < 0 {
		return "", ok
	}
	return value, ok
}

func (m *metered) check(word string) error {
	if m.left < 0 {
		return fmt.Errorf("it expands to more than %d bytes", allowance(word))
	}
	return nil
}

// replacing is the form of a variable that replaces parts of its value: each part may grow by all that is put there.
var replacing = regexp.MustCompile(`\$\{\w+/`)

// allowance is how many bytes of variables a word may take: their product must stay within maxWord where parts of one are
// replaced with another.
func allowance(word string) int {
	if !replacing.MatchString(word) {
		return maxWord
	}
	deepest, depth, longest, start := 0, 0, 0, 0
	for i := range len(word) {
		switch {
		case strings.HasPrefix(word[i:], "${"):
			if depth == 0 {
				start = i
			}
			depth++
			deepest = max(deepest, depth)
		case word[i] == '}' && depth > 0:
			depth--
			longest = max(longest, i-start)
		}
	}
	const most = 256 << 20
	return int(math.Pow(most, 1/float64(deepest+1))) - longest
}
