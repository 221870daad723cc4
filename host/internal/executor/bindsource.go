package executor

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// wire writes a process down, and gives the mounts that the child gets as descriptors, in their order.
func (p Process) wire() (wireProcess, []*os.File, error) {
	w := wireProcess{
		Args: p.Args, Env: p.Env, Dir: p.Dir, User: p.User, Network: p.Network, Privileges: p.Privileges, Hostname: p.Hostname,
		Proc: p.Proc, Limits: p.Limits, ShmSize: p.ShmSize,
		ResolvConf: p.ResolvConf, SetResolv: p.ResolvConf != nil, Hosts: p.Hosts, SetHost: p.Hosts != nil,
	}
	var files []*os.File
	for _, m := range p.Mounts {
		wm := wireMount{
			Kind: m.Kind, Target: filepath.Clean(m.Target), Layers: m.Layers, SubPath: m.SubPath, ReadOnly: m.ReadOnly,
			Size: m.Size, Content: m.Content, Mode: m.Mode, UID: m.UID, GID: m.GID,
		}
		if m.Kind == MountBind {
			mount, err := bindSource(m)
			if err != nil {
				return w, nil, errors.Join(err, closeAll(files))
			}
			wm.FD = filesFD + len(files)
			files = append(files, os.NewFile(uintptr(mount), m.Target))
		}
		w.Mounts = append(w.Mounts, wm)
	}
	return w, files, nil
}

// bindSource clones what a bind mount shows. It is done here because an open file of the builder belongs to the builder's
// mount namespace, in which the child no longer is.
func bindSource(m Mount) (int, error) {
	if m.File == nil {
		fd, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, failure("open mount source", m.Source, err)
		}
		mount, err := below(fd, m.SubPath)
		return mount, errors.Join(err, errorOf("close mount source", unix.Close(fd)))
	}
	raw, err := m.File.SyscallConn()
	if err != nil {
		return -1, failure("use open file as mount source", m.File.Name(), err)
	}
	mount := -1
	if controlErr := raw.Control(func(fd uintptr) { mount, err = below(int(fd), m.SubPath) }); controlErr != nil {
		return -1, failure("use open file as mount source", m.File.Name(), controlErr)
	}
	return mount, err
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
