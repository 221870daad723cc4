package rootfs

import "golang.org/x/sys/unix"

// dirCache keeps descriptors of the directories used last. The one handed out last is never the one thrown out, so that
// two can be used together.
type dirCache struct {
	fds  map[string]int
	ring [32]string
	next int
	last string
}

func (c *dirCache) get(dir string) (int, bool) {
	fd, ok := c.fds[dir]
	if ok {
		c.last = dir
	}
	return fd, ok
}

func (c *dirCache) put(dir string, fd int) {
	if c.fds == nil {
		c.fds = make(map[string]int, len(c.ring))
	}
	if len(c.fds) == len(c.ring) {
		if c.ring[c.next] == c.last {
			c.next = (c.next + 1) % len(c.ring)
		}
		old := c.ring[c.next]
		_ = unix.Close(c.fds[old]) // opened with O_PATH: nothing to lose
		delete(c.fds, old)
	}
	c.ring[c.next] = dir
	c.next = (c.next + 1) % len(c.ring)
	c.fds[dir], c.last = fd, dir
}

func (c *dirCache) close() {
	for _, fd := range c.fds {
		_ = unix.Close(fd)
	}
	clear(c.fds)
	c.next, c.last = 0, ""
}
