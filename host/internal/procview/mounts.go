//go:build amd64

package procview

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trowel-build/trowel/host/internal/notify"
)

// knownLinks are those symlinks to /proc that every container has, as far as this root has them.
func knownLinks() *map[string]string {
	known := map[string]string{}
	for _, name := range []string{"/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/etc/mtab"} {
		buf := make([]byte, unix.PathMax)
		if n, err := unix.Readlink(name, buf); err == nil {
			known[name] = string(buf[:n])
		}
	}
	return &known
}

// maxNoted is how many links of the step's own making are followed: each is compared with every path.
const maxNoted = 64

// noteLink remembers a symlink to /proc that the step makes.
func (w *worker) noteLink(r *notify.Request, path []byte) {
	target, err := w.readString(r, r.Args[0], &w.second)
	if err != nil || path[0] != '/' || !strings.Contains(string(target), "proc") {
		return
	}
	l := lookup{follow: true, links: *w.links.Load(), member: func(int) bool { return true }}
	name := string(path)
	dir := name[:strings.LastIndexByte(name, '/')+1]
	if l.resolve(dir, string(target)).kind == untouched || len(l.links) >= maxNoted {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	links := map[string]string{name: string(target)}
	for link, target := range *w.links.Load() {
		links[link] = target
	}
	w.links.Store(&links)
}

// makeMounts writes what /proc/self/mounts and mountinfo say: the root is a mount, and so are the places where programs look
// for one. Our own mounts are none of the step's business.
func (s *server) makeMounts() error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/", &fs); err != nil {
		return fmt.Errorf("look at the root file system: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		return fmt.Errorf("look at the root file system: %w", err)
	}
	kind := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	}[fs.Type]
	if kind == "" {
		kind = "ext4"
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	var err error
	if s.mounts, err = memoryFile("mounts", "rootfs / "+kind+" rw,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n"); err != nil {
		return err
	}
	s.info, err = memoryFile("mountinfo", "20 1 "+device+" / / rw,relatime - "+kind+" rootfs rw\n"+
		"21 20 0:4 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n")
	return err
}

// memoryFile makes a file that cannot be changed any more.
func memoryFile(name, text string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("create memory file: %w", err)
	}
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		return -1, fmt.Errorf("write memory file: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return -1, fmt.Errorf("seal memory file: %w", err)
	}
	return fd, unix.Fchmod(fd, 0o444)
}
