package sdk

import (
	"slices"
	"strings"
)

// Config is the table [plugins.NAME.config] of the user's trowel.toml. A constructor reads what it knows and then returns
// [Config.Err], which tells of values of a wrong type, of missing ones and of keys that nobody read. It is for one
// goroutine.
type Config struct {
	values   map[string]any
	read     map[string]bool
	problems []string
}

// NewConfig makes a configuration of values: string, bool, int64, float64, []any and map[string]any.
func NewConfig(values map[string]any) *Config {
	return &Config{values: values, read: map[string]bool{}}
}

// Values are all values as they are, for who would rather read them another way. It counts as reading them.
func (c *Config) Values() map[string]any {
	for key := range c.values {
		c.read[key] = true
	}
	return c.values
}

// String returns the string under key, or fallback if there is none.
func (c *Config) String(key, fallback string) string { return value(c, key, "a string", fallback) }

// Required returns the string under key, and makes its absence an error.
func (c *Config) Required(key string) string {
	s := c.String(key, "")
	if _, ok := c.values[key]; !ok || s == "" {
		c.problems = append(c.problems, key+" is missing")
	}
	return s
}

// Bool returns the boolean under key, or fallback if there is none.
func (c *Config) Bool(key string, fallback bool) bool {
	return value(c, key, "true or false", fallback)
}

// Int returns the whole number under key, or fallback if there is none.
func (c *Config) Int(key string, fallback int64) int64 {
	return value(c, key, "a whole number", fallback)
}

// Strings returns the list of strings under key, or nil if there is none.
func (c *Config) Strings(key string) []string {
	var out []string
	for _, v := range value[[]any](c, key, "a list of strings", nil) {
		s, ok := v.(string)
		if !ok {
			c.problems = append(c.problems, key+" must be a list of strings")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// Table returns the table under key as a configuration of its own; it is empty if there is none.
func (c *Config) Table(key string) *Config {
	return NewConfig(value[map[string]any](c, key, "a table", nil))
}

// Err is what is wrong with the configuration, or nil. It tells of tables only what their own Err is not asked for.
func (c *Config) Err() error {
	problems := c.problems
	var unknown []string
	for key := range c.values {
		if !c.read[key] {
			unknown = append(unknown, "unknown key "+key)
		}
	}
	slices.Sort(unknown)
	if problems = append(slices.Clip(problems), unknown...); len(problems) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Message: "config: " + strings.Join(problems, ", ")}
}

func value[T any](c *Config, key, want string, fallback T) T {
	c.read[key] = true
	v, ok := c.values[key]
	if !ok {
		return fallback
	}
	t, ok := v.(T)
	if !ok {
		c.problems = append(c.problems, key+" must be "+want)
		return fallback
	}
	return t
}
