package progress

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Mode says how events are shown. The names are those of docker buildx's --progress.
type Mode string

// The modes.
const (
	ModeAuto    Mode = "auto"    // tty on a terminal, plain elsewhere
	ModeTTY     Mode = "tty"     // a live view that redraws itself
	ModePlain   Mode = "plain"   // lines, with the sections of the CI system they are read in
	ModeQuiet   Mode = "quiet"   // nothing
	ModeRawJSON Mode = "rawjson" // one JSON object a line
)

// ErrNotTerminal says that [ModeTTY] was asked for where there is no terminal.
var ErrNotTerminal = errors.New("not a terminal; use plain")

// ParseMode returns the mode of that name; an empty name is [ModeAuto].
func ParseMode(name string) (Mode, error) {
	modes := []Mode{ModeAuto, ModeTTY, ModePlain, ModeQuiet, ModeRawJSON}
	if name == "" {
		return ModeAuto, nil
	}
	if !slices.Contains(modes, Mode(name)) {
		return "", fmt.Errorf("unknown progress mode %q: use auto, tty, plain, quiet or rawjson", name)
	}
	return Mode(name), nil
}

// Environment is what surrounds a [Printer]. Its zero value takes nothing from the environment but the size of the
// terminal, if there is one.
type Environment struct {
	// Getenv looks up an environment variable: GITLAB_CI, GITHUB_ACTIONS, TERM, NO_COLOR. Nil means that none is set.
	Getenv func(string) string
	// Size returns the columns and rows of the terminal. Nil means to ask the writer, if that is a terminal.
	Size func() (columns, rows int, err error)
	// Now is the clock. Nil means [time.Now].
	Now func() time.Time
}

// withDefaults returns e with every field that w decides filled in, and Size left nil if w is no terminal.
func (e Environment) withDefaults(w io.Writer) Environment {
	if e.Getenv == nil {
		e.Getenv = func(string) string { return "" }
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	if file, ok := w.(*os.File); ok && e.Size == nil && term.IsTerminal(int(file.Fd())) {
		e.Size = func() (int, int, error) { return term.GetSize(int(file.Fd())) }
	}
	return e
}

// view turns events into bytes. A [Printer] calls its methods under one lock.
type view interface {
	show(Event)
	// render returns what is to be written now.
	render() []byte
	// finish is called once, before the last render.
	finish()
}

// Printer is a [Reporter] that writes what it is told. It is made by [New] and must be closed.
type Printer struct {
	w       io.Writer
	now     func() time.Time
	stop    chan struct{} // closed to end the redrawing goroutine; nil if there is none
	stopped chan struct{} // closed when it ended
	close   sync.Once

	writing sync.Mutex // held while writing, so that renderings reach w in order; taken before mu
	err     error

	mu     sync.Mutex
	view   view
	closed bool
}

// redrawInterval keeps a live view at ten frames a second.
const redrawInterval = 100 * time.Millisecond

// New returns a Printer that shows events on w.
func New(mode Mode, w io.Writer, environment Environment) (*Printer, error) {
	environment = environment.withDefaults(w)
	if mode == ModeAuto || mode == "" {
		mode = ModePlain
		if environment.Size != nil && environment.Getenv("TERM") != "dumb" {
			mode = ModeTTY
		}
	}
	p := &Printer{w: w, now: environment.Now}
	switch mode {
	case ModePlain:
		p.view = newPlain(newMarkup(environment), environment.Now)
	case ModeQuiet:
		p.view = quiet{}
	case ModeRawJSON:
		p.view = newRawJSON()
	case ModeTTY:
		if environment.Size == nil {
			return nil, fmt.Errorf("show progress as %q: %w", mode, ErrNotTerminal)
		}
		p.view = newTTY(environment)
		p.stop, p.stopped = make(chan struct{}), make(chan struct{})
		go p.redraw()
	default:
		_, err := ParseMode(string(mode))
		return nil, err
	}
	return p, nil
}

// Report shows the event. After Close it does nothing.
func (p *Printer) Report(event Event) {
	if event.Time.IsZero() {
		event.Time = p.now()
	}
	if p.stop != nil { // a live view is written by its goroutine alone, so a slow terminal delays no step
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.closed {
			p.view.show(event)
		}
		return
	}
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.view.show(event)
	out := p.view.render()
	p.mu.Unlock()
	p.write(out)
}

// Close writes what is outstanding, gives the terminal back and returns the first error of writing. Only the first
// call does anything.
func (p *Printer) Close() error {
	p.close.Do(func() {
		if p.stop != nil {
			close(p.stop)
			<-p.stopped
		}
		p.writing.Lock()
		defer p.writing.Unlock()
		p.mu.Lock()
		p.closed = true
		p.view.finish()
		out := p.view.render()
		p.mu.Unlock()
		p.write(out)
	})
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.err != nil {
		return fmt.Errorf("write progress: %w", p.err)
	}
	return nil
}

// redraw writes the live view until the Printer is closed.
func (p *Printer) redraw() {
	defer close(p.stopped)
	ticker := time.NewTicker(redrawInterval)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			p.mu.Lock()
			out := p.view.render()
			p.mu.Unlock()
			p.writing.Lock()
			p.write(out)
			p.writing.Unlock()
		}
	}
}

// write is called with p.writing held. A writer that failed once is left alone: a build goes on without its log.
func (p *Printer) write(out []byte) {
	if len(out) == 0 || p.err != nil {
		return
	}
	_, p.err = p.w.Write(out)
}

// quiet shows nothing.
type quiet struct{}

func (quiet) show(Event)     {}
func (quiet) render() []byte { return nil }
func (quiet) finish()        {}

// newMarkup returns how the CI system named by the environment folds and marks lines.
func newMarkup(environment Environment) markup {
	set := func(name string) bool { return strings.EqualFold(environment.Getenv(name), "true") }
	switch {
	case set("GITHUB_ACTIONS"):
		return github{}
	case set("GITLAB_CI"):
		return gitlab{now: environment.Now}
	}
	return bare{}
}

var _ Reporter = (*Printer)(nil)
