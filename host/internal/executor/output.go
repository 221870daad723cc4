package executor

import (
	"errors"
	"io"
	"os"
	"reflect"
	"sync"
)

// output carries what a process writes to the caller's writers.
type output struct {
	stdoutR, stdoutW *os.File
	stderrR, stderrW *os.File // the same as stdout's where the writers are the same, so that the order is kept
	stdout, stderr   io.Writer

	copies sync.WaitGroup
	errs   [2]error
}

func openOutput(stdout, stderr io.Writer) (*output, error) {
	o := &output{stdout: orDiscard(stdout), stderr: orDiscard(stderr)}
	var err error
	if o.stdoutR, o.stdoutW, err = os.Pipe(); err != nil {
		return nil, failure("create pipe", "", err)
	}
	if same(o.stdout, o.stderr) {
		o.stderrR, o.stderrW = o.stdoutR, o.stdoutW
		return o, nil
	}
	if o.stderrR, o.stderrW, err = os.Pipe(); err != nil {
		return nil, errors.Join(failure("create pipe", "", err), o.stdoutR.Close(), o.stdoutW.Close())
	}
	return o, nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func same(a, b io.Writer) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.ValueOf(a).Comparable() && a == b
}

// copy starts copying, after the process has got its ends, and closes ours.
func (o *output) copy() {
	pump := func(i int, dst io.Writer, src, ours *os.File) {
		closeErr := ours.Close()
		o.copies.Go(func() {
			_, err := io.Copy(dst, src)
			if err != nil {
				// The process must not stop on a full pipe because nobody listens.
				_, drainErr := io.Copy(io.Discard, src)
				err = errors.Join(err, drainErr)
			}
			o.errs[i] = errors.Join(err, closeErr, src.Close())
		})
	}
	pump(0, o.stdout, o.stdoutR, o.stdoutW)
	if o.stderrR != o.stdoutR {
		pump(1, o.stderr, o.stderrR, o.stderrW)
	}
}

// wait returns when all that holds the pipes is gone.
func (o *output) wait() error {
	o.copies.Wait()
	return errors.Join(o.errs[0], o.errs[1])
}

// abandon closes what copy never took over.
func (o *output) abandon() error {
	err := errors.Join(o.stdoutR.Close(), o.stdoutW.Close())
	if o.stderrR != o.stdoutR {
		err = errors.Join(err, o.stderrR.Close(), o.stderrW.Close())
	}
	return err
}
