package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/trowel-build/trowel/host/internal/filetree"
)

// smallFile is the size up to which a file's content is read into memory, to be written while the archive is read on.
const smallFile = 64 << 10

// crew writes small files with several goroutines. Its methods may be called by several goroutines, stop by one.
type crew struct {
	site    *site
	jobs    []chan smallJob // one for each worker
	buffers sync.Pool       // of *bytes.Buffer
	pending sync.WaitGroup
	workers sync.WaitGroup
	once    sync.Once

	mu   sync.Mutex
	err  error
	dir  string // of the last file
	turn int    // whose it was
}

type smallJob struct {
	entry   filetree.Entry
	content *bytes.Buffer
}

func newCrew(s *site) *crew {
	n := s.opts.workers()
	c := &crew{site: s, jobs: make([]chan smallJob, n)}
	c.buffers.New = func() any { return new(bytes.Buffer) }
	for i := range c.jobs {
		c.jobs[i] = make(chan smallJob, 32)
		c.workers.Go(func() { c.work(c.jobs[i]) })
	}
	return c
}

func (c *crew) work(jobs <-chan smallJob) {
	for j := range jobs {
		if err := c.site.makeSmall(&j.entry, j.content.Bytes()); err != nil {
			c.fail(err)
		}
		j.content.Reset()
		c.buffers.Put(j.content)
		c.pending.Done()
	}
}

func (c *crew) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *crew) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// file makes a regular file: a small one soon, a large one now.
func (c *crew) file(e *filetree.Entry, content io.Reader) error {
	if err := c.failure(); err != nil {
		return err
	}
	if e.Size > smallFile {
		return c.site.makeFile(e, content)
	}
	b := c.buffers.Get().(*bytes.Buffer)
	if e.Size > 0 {
		b.Grow(smallFile)
		switch n, err := io.CopyN(b, content, e.Size); {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("write file %q: content ends after %d of %d bytes: %w", e.Path, n, e.Size, io.ErrUnexpectedEOF)
		case err != nil:
			return fmt.Errorf("write file %q: %w", e.Path, err)
		}
	}
	c.pending.Add(1)
	c.queue(e.Path) <- smallJob{entry: *e, content: b}
	return nil
}

// queue is that of the worker who is to write the file at p. The files of a directory, which come one after the other, go
// to one worker: two would only wait for the directory's lock.
func (c *crew) queue(p string) chan<- smallJob {
	c.mu.Lock()
	defer c.mu.Unlock()
	if dir := filetree.Parent(p); dir != c.dir {
		c.dir, c.turn = dir, (c.turn+1)%len(c.jobs)
	}
	return c.jobs[c.turn]
}

// drain waits until all files asked for are written.
func (c *crew) drain() error {
	c.pending.Wait()
	return c.failure()
}

// stop ends the crew's goroutines after the files asked for are written.
func (c *crew) stop() error {
	c.once.Do(func() {
		for _, jobs := range c.jobs {
			close(jobs)
		}
	})
	c.workers.Wait()
	return c.failure()
}
