package executor

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// dated is a directory that is changed for a mount, and the times that it shall have all the same.
type dated struct {
	fd    int
	times []unix.Timespec
}

// touch remembers a directory's times before it is changed.
func (l *laid) touch(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if l.times[inodeOf(&st)] == nil {
		l.times[inodeOf(&st)] = &dated{fd, []unix.Timespec{st.Atim, st.Mtim}}
	}
	return nil
}

// readTimes takes the times that the process has left.
func (l *laid) readTimes() error {
	var errs []error
	for _, d := range l.times {
		var st unix.Stat_t
		if err := unix.Fstat(d.fd, &st); err != nil {
			errs = append(errs, err)
		} else if st.Nlink > 0 {
			d.times = []unix.Timespec{st.Atim, st.Mtim}
		}
	}
	return errors.Join(errs...)
}

// restoreTimes undoes what changes for mounts have done to the times. Directories that were made again have those of the
// ones in whose place they are.
func (l *laid) restoreTimes() error {
	var errs []error
	for _, d := range l.times {
		// Another user's directory, such as /dev/shm, is no image's.
		if err := setTimes(d.fd, d.times); !errors.Is(err, unix.EPERM) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func setTimes(fd int, times []unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", slices.Clone(times), unix.AT_EMPTY_PATH)
}
