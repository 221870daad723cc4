package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Record is what a plain directory held at one time: of every file what the kernel tells of it without reading it. It takes
// less than 150 bytes a file. It is for one goroutine.
//
// A process cannot change a file and leave all of that as it was: the status change time is the kernel's own. But that time
// moves in ticks, of 1 to 10 milliseconds, and a file that is changed twice within one tick may look the same after both.
// Hence a file whose time is not before the time of the record counts as changed, and is read: see [Record.Await].
type Record struct {
	dir     string
	root    file
	devices []uint64
	taken   int64 // what changes from then on has this status change time or a later one
	newest  int64 // the latest status change time there was
}

// file is a name in a record.
type file struct {
	name string
	signature
	dir *directory // nil if it is none
}

// directory holds files sorted by name.
type directory struct{ files []file }

// signature is what the kernel tells of a file.
type signature struct {
	ino                uint64
	size, mtime, ctime int64 // times in nanoseconds
	uid, gid, nlink    uint32
	mode               uint16
	device             uint16 // index in Record.devices: an overlay shows files of several
}

func (s *signature) isDir() bool { return s.mode&unix.S_IFMT == unix.S_IFDIR }

// list is what a directory holds; nil holds nothing.
func (d *directory) list() []file {
	if d == nil {
		return nil
	}
	return d.files
}

// Take records a plain directory. Nothing may change it meanwhile.
func Take(ctx context.Context, dir string, opts Options) (*Record, error) {
	r := &Record{dir: dir}
	w := newWalker(r, opts)
	if err := w.run(ctx, nil); err != nil {
		return nil, fmt.Errorf("record what is in %q: %w", dir, err)
	}
	return w.after, nil
}

// Await prepares the record for a process that is going to change the directory, which nobody has done since the record was
// taken. It waits until the clock that files get their times from has passed the latest of the record: mostly it has.
func (r *Record) Await(ctx context.Context) error {
	tick, err := clockTick()
	if err != nil {
		return err
	}
	for range awaitTicks {
		if r.taken, err = fileClock(); err != nil {
			return err
		}
		if r.newest < r.taken {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(tick):
		}
	}
	return nil // a file from the future, as where the clock was set back: it counts as changed
}

// awaitTicks is how long Await waits at most.
const awaitTicks = 4

// fileClock is the time that a file which is changed now gets, or is given a later one.
func fileClock() (int64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return now.Nano(), nil
}

func clockTick() (time.Duration, error) {
	var tick unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_REALTIME_COARSE, &tick); err != nil {
		return 0, fmt.Errorf("read the clock's resolution: %w", err)
	}
	return time.Duration(tick.Nano()), nil
}

// deviceOf numbers a file system. The walker holds its lock.
func (r *Record) deviceOf(major, minor uint32) (uint16, error) {
	dev := unix.Mkdev(major, minor)
	for i, d := range r.devices {
		if d == dev {
			return uint16(i), nil
		}
	}
	if len(r.devices) > maxDevices {
		return 0, errors.New("files of too many file systems in one directory")
	}
	r.devices = append(r.devices, dev)
	return uint16(len(r.devices) - 1), nil
}

const maxDevices = 1 << 15
