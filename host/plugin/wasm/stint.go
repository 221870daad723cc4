package wasm

import (
	"context"
	"time"
)

// stint is the work of the interpreter at one job. It stands still while the host does something for the plugin, which takes as long
// whoever runs the module: to compile a module because a server is slow would make a build slower still. A nil stint is that of a
// compiled module.
type stint struct {
	due     func()        // for when the interpreter has worked for long enough
	enough  *time.Timer   // calls it
	left    time.Duration // until then, at the start
	worked  time.Duration
	since   time.Time // zero while it stands still
	stopped bool      // the timer, before it fired
}

// interpret starts the interpreter's work at a job. When it has worked for long enough, at this one and those before, the module is
// compiled.
func (p *Plugin) interpret(ctx context.Context, cancel context.CancelCauseFunc, j job) *stint {
	return newStint(max(0, p.compileAfter-time.Duration(p.interpreted.Load())), func() {
		if j.fresh {
			p.supersede(ctx, cancel)
			return
		}
		p.compile(ctx)
	})
}

func newStint(left time.Duration, due func()) *stint {
	return &stint{due: due, enough: time.AfterFunc(left, due), left: left, since: time.Now()}
}

// pause is called when the host begins to do something for the plugin.
func (s *stint) pause() {
	if s == nil {
		return
	}
	stopped := s.enough.Stop()
	s.tick()
	if s.stopped = stopped && s.worked < s.left; stopped && !s.stopped {
		go s.due() // a timer that is stopped again and again might never come to it
	}
}

// resume is called when the interpreter goes on.
func (s *stint) resume() {
	if s == nil {
		return
	}
	s.since = time.Now()
	if s.stopped {
		s.enough.Reset(s.left - s.worked)
	}
}

// end ends the stint and returns how long it was.
func (s *stint) end() time.Duration {
	s.enough.Stop()
	s.tick()
	return s.worked
}

// tick counts what was worked since the last time.
func (s *stint) tick() {
	if !s.since.IsZero() {
		s.worked += time.Since(s.since)
	}
	s.since = time.Time{}
}

// supersede ends a call in the interpreter when the compiled module is there, which does the same many times faster. Only calls
// that are free of effects are made again.
func (p *Plugin) supersede(ctx context.Context, cancel context.CancelCauseFunc) {
	c := p.compile(ctx)
	select {
	case <-c.done:
		if c.err == nil {
			cancel(errSuperseded)
		}
	case <-ctx.Done():
	}
}
