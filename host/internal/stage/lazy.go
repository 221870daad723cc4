package stage

import "sync"

// lazy is a value that is made when it is first wanted, once, whoever wants it.
type lazy[T any] struct {
	once  sync.Once
	value T
	err   error
}

// get returns the value; the first caller makes it, the others wait for it.
func (l *lazy[T]) get(make func() (T, error)) (T, error) {
	l.once.Do(func() { l.value, l.err = make() })
	return l.value, l.err
}
