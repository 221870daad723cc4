package dockerfile

import (
	"slices"
	"strings"
)

// Nearest is the option that word may have been meant to be, or "". Letter case does not count. Two letters swapped are
// one mistake; a short word may have one, a longer one two.
func Nearest(word string, options []string) string {
	limit := 2
	if len(word) < 5 {
		limit = 1
	}
	nearest, best := "", limit+1
	for _, option := range slices.Sorted(slices.Values(options)) {
		if d := distance(strings.ToLower(word), strings.ToLower(option), limit); d < best {
			nearest, best = option, d
		}
	}
	if best == 0 {
		return "" // the word is right: whatever is wrong is something else
	}
	return nearest
}

// DidYouMean is a hint that names the option nearest to word, "" if none is near.
func DidYouMean(word string, options []string) string {
	if match := Nearest(word, options); match != "" {
		return "did you mean " + match + "?"
	}
	return ""
}

// distance is how many letters have to be put in, taken out, replaced or swapped with their neighbour to make b of a; more
// than limit if that is not worth counting. (Optimal string alignment.)
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit+1 {
			return limit + 1
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
