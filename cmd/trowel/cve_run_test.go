package main

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Regression tests for vulnerabilities of other builders, named after them: what a process of RUN must not reach or change.

// asBoth runs a test as root and as an ordinary user, where processes can be run.
func asBoth(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	t.Parallel()
	needRun(t)
	for who, options := range map[string][]siteOption{"root": nil, "user": {asUser}} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, options...))
		})
	}
}

// runs builds instructions on the image with a shell and these layers. "@" stands for the canary's directory.
func (s *site) runs(lines string, layers ...[]byte) outcome {
	s.t.Helper()
	base := s.pushBase(s.t, "1", layers...)
	s.write("Dockerfile", "FROM "+base+"\n"+strings.ReplaceAll(lines, "@", s.canary)+"\n")
	s.own()
	s.forget()
	return s.build("--no-cache")
}

// ran makes sure that a build succeeded, or that it is an ordinary user's who has no IDs for other users.
func (s *site) ran(o outcome) bool {
	s.t.Helper()
	if strings.Contains(o.stderr, "the user namespace has no such ID") && (s.user || !manyIDs()) {
		return false
	}
	s.succeeded(o)
	return true
}

// unseen makes sure that what only files outside say was not shown.
func (s *site) unseen(o outcome, words ...string) {
	s.t.Helper()
	for _, w := range append(words, "alive") {
		if strings.Contains(o.stderr, w) {
			s.t.Errorf("the process saw %q:\n%s", w, o.stderr)
		}
	}
}

// TestCVE2021_3602 (buildah): RUN reads the builder's environment through /proc.
func TestCVE2021_3602(t *testing.T) {
	asBoth(t, func(_ *testing.T, s *site) {
		o := s.runs(`RUN cat /proc/*/environ > /all || true; grep -q PATH /all; grep CANARY /all || echo "not there"`)
		s.succeeded(o)
		s.unseen(o, "CANARY=")
		if !strings.Contains(o.stderr, "not there") {
			s.t.Errorf("no environment was read:\n%s", o.stderr)
		}
	})
}

// TestCVE2022_27651 (buildah): the process has inheritable capabilities.
func TestCVE2022_27651(t *testing.T) {
	asBoth(t, func(t *testing.T, s *site) {
		o := s.runs("RUN grep CapInh /proc/self/status\nUSER app\nRUN grep CapInh /proc/self/status")
		if s.ran(o) && strings.Count(o.stderr, "0000000000000000\n") != 2 {
			t.Errorf("capabilities are inheritable:\n%s", o.stderr)
		}
	})
}

// TestCVE2022_2989 and CVE-2022-2990 (podman, buildah): the process keeps supplementary groups of the builder.
func TestCVE2022_2989(t *testing.T) {
	asBoth(t, func(t *testing.T, s *site) {
		o := s.runs("USER app\nRUN echo groups: $(id -G).\nUSER app:staff\nRUN echo groups: $(id -G).\nUSER 7:8\nRUN echo groups: $(id -G).")
		if !s.ran(o) {
			return
		}
		for _, want := range []string{"groups: 10 1000.", "groups: 50.", "groups: 8."} {
			if !strings.Contains(o.stderr, want) {
				t.Errorf("want %q:\n%s", want, o.stderr)
			}
		}
	})
}

// TestCVE2024_21626 (runc, "Leaky Vessels"): WORKDIR leads out by a descriptor that the builder left open.
func TestCVE2024_21626(t *testing.T) {
	asBoth(t, func(_ *testing.T, s *site) {
		for fd := range 12 {
			s.unseen(s.runs(fmt.Sprintf("WORKDIR /proc/self/fd/%d\nRUN pwd; cat ../../../../../../../../..@/file; cat /proc/self/fd/%d@/file; true", fd, fd)))
		}
	})
}

// TestCVE2024_23652 (BuildKit): the removal of mount points follows a link to the host.
func TestCVE2024_23652(t *testing.T) {
	for name, run := range map[string]string{
		"resolv.conf": "RUN mv /etc /old; ln -s @ /etc",
		"tmpfs":       "RUN --mount=type=tmpfs,target=/m/empty mv /m /old; ln -s @ /m",
		"cache":       "RUN --mount=type=cache,target=/m/empty mv /m /old; ln -s @ /m",
		"file":        "RUN --mount=type=bind,source=Dockerfile,target=/m/file mv /m /old; ln -s @ /m",
		"deeper":      "RUN --mount=type=tmpfs,target=/a/b/c/empty mv /a/b /old; mkdir /a/b; ln -s @ /a/b/c",
	} {
		t.Run(name, func(t *testing.T) {
			asBoth(t, func(t *testing.T, s *site) {
				must(t, os.Mkdir(filepath.Join(s.canary, "empty"), 0o755))
				s.before = s.canaries()
				s.unseen(s.runs(run))
			})
		})
	}
}

// TestCVE2024_23651 and CVE-2024-11218 (BuildKit, buildah): a step swaps a directory of a shared cache for a link while another
// mounts it.
func TestCVE2024_23651(t *testing.T) { testCacheRace(t) }

// TestCVE2024_11218 is the same in buildah with --jobs.
func TestCVE2024_11218(t *testing.T) { testCacheRace(t, "--jobs", "8") }

func testCacheRace(t *testing.T, flags ...string) {
	asBoth(t, func(t *testing.T, s *site) {
		base := s.pushBase(t, "1")
		text := "FROM " + base + " AS flips\nRUN --mount=type=cache,id=x,target=/c i=0; while [ $i -lt 400 ]; do rm -rf /c/sub; ln -s / /c/sub; rm /c/sub; mkdir /c/sub; i=$((i+1)); done; rm -rf /c/sub; ln -s / /c/sub\n"
		last := "FROM " + base + "\nCOPY --from=flips /etc/passwd /flips\n"
		for i := range 6 {
			text += fmt.Sprintf("FROM %s AS s%d\nRUN --mount=type=cache,id=x,source=sub,target=/c cat /c%s/file; echo %d > /r\n", base, i, s.canary, i)
			last += fmt.Sprintf("COPY --from=s%d /r /r%d\n", i, i)
		}
		s.write("Dockerfile", text+last)
		s.own()
		s.unseen(s.build(flags...))
		s.unseen(s.build(append(flags, "--no-cache")...)) // with the link there from the start
	})
}

// TestCVE2024_1753 (buildah): the source of a bind mount is a link in the image, to the host's root.
func TestCVE2024_1753(t *testing.T) {
	asBoth(t, func(t *testing.T, s *site) {
		evil := s.pushBase(t, "evil", pack(t, symlink("x", "/"), symlink("y", s.canary), folder("d/"), symlink("d/z", "../../../../../../../../"+s.canary)))
		for _, source := range []string{"/x", "/y", "/d/z", "/x" + s.canary, "/../../.." + s.canary} {
			for _, kind := range []string{"bind", "cache"} {
				s.unseen(s.runs(fmt.Sprintf("RUN --mount=type=%s,from=%s,source=%s,target=/m cat /m@/file /m/file /m/below/file; echo dead > /m/file; true", kind, evil, source)))
			}
		}
		s.unseen(s.runs("COPY --from=" + evil + " /x@ /got\nCOPY --from=" + evil + " /y/file /got\nRUN cat /got/file; true"))
	})
}

// TestCVE2024_9407 (buildah): an option of a mount smuggles others.
func TestCVE2024_9407(t *testing.T) {
	t.Parallel()
	for _, mount := range []string{
		"type=bind,bind-propagation=shared,target=/m", "type=bind,target=/m,relabel=private", `"type=tmpfs,target=/m",bind-nonrecursive=x`,
		"type=tmpfs,target=/m,size=1m:rw", "type=cache,target=/m,sharing=shared:dev", "type=bind,target=/m,z", "type=bind,target=/m,rw=dev,U",
		"type=tmpfs,target=/m,tmpfs-mode=7777", "type=bind,target=/m,ro=maybe", "type=devpts,target=/m", "type=tmpfs", "type=tmpfs,target=/", "=", ",",
	} {
		t.Run(mount, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.refused(s.runs("RUN --mount="+mount+" true"), `Dockerfile:2`)
		})
	}
}

// TestCVE2024_9675 (buildah): the ID of a cache is a path.
func TestCVE2024_9675(t *testing.T) {
	asBoth(t, func(_ *testing.T, s *site) {
		for _, id := range []string{"../../../../../../../../..@", "@", "/", "..", ".", "a/../../b", "x\\..\\y", strings.Repeat("long", 2000)} {
			o := s.runs("RUN --mount=type=cache,id=" + id + ",target=/c cat /c/file; echo dead > /c/file; mkdir -p /c/below; echo dead > /c/below/file")
			s.unseen(o)
			s.succeeded(o)
		}
	})
}

// TestCVE2024_9676 (containers/storage): /etc/passwd of the image is a link to the host, or something that never ends.
func TestCVE2024_9676(t *testing.T) {
	for name, kind := range map[string]byte{"link": tar.TypeSymlink, "FIFO": tar.TypeFifo, "device": tar.TypeChar, "directory": tar.TypeDir} {
		t.Run(name, func(t *testing.T) {
			asBoth(t, func(t *testing.T, s *site) {
				evil := pack(t, file("etc/.wh.passwd", ""), file("etc/.wh.group", ""),
					entry{tar.Header{Typeflag: kind, Name: "etc/passwd", Linkname: s.canary + "/file", Devmajor: 1, Devminor: 5}, ""},
					entry{tar.Header{Typeflag: kind, Name: "etc/group", Linkname: s.canary + "/file", Devmajor: 1, Devminor: 5}, ""})
				for _, lines := range []string{"USER alive\nRUN true", "COPY --chown=app Dockerfile /", "USER app\nWORKDIR /w\nRUN true"} {
					s.refused(s.runs(lines, evil), `Dockerfile:\d`, `passwd`)
				}
			})
		})
	}
}

// TestCVE2024_45310 and its like in runc (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579): what is mounted over is a link
// to the host.
func TestCVE2024_45310(t *testing.T) { testMountedOver(t, "dev", "proc", "sys") }
func TestCVE2025_31133(t *testing.T) { testMountedOver(t, "dev/null", "proc/kcore", "proc/sys") }
func TestCVE2025_52565(t *testing.T) { testMountedOver(t, "dev/console", "dev/pts", "dev/ptmx") }
func TestCVE2025_52881(t *testing.T) {
	testMountedOver(t, "proc/self", "proc/self/attr/exec", "proc/sysrq-trigger")
}
func TestCVE2026_41579(t *testing.T) { testMountedOver(t, "dev/shm", "dev/mqueue", "dev/fd") }

func testMountedOver(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			asBoth(t, func(t *testing.T, s *site) {
				whiteout := pack(t, file(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), ""))
				for _, target := range []string{s.canary, s.canary + "/file", s.canary + "/new", "../../../../../../.." + s.canary + "/new/below"} {
					o := s.runs("RUN echo dead > /dev/null; echo dead > /dev/console; echo dead > /dev/shm/file; true", whiteout, pack(t, symlink(name, target)))
					s.unseen(o)
					if o.code != 0 {
						s.refused(o, `Dockerfile:2`, `/`+name)
					}
				}
			})
		})
	}
}

// TestCVE2026_46680 (containerd): a numeric USER is looked up as a name.
func TestCVE2026_46680(t *testing.T) {
	asBoth(t, func(t *testing.T, s *site) {
		o := s.runs("USER 1234\nRUN echo is $(id -u).\nUSER 1234:5678\nRUN echo is $(id -u):$(id -g).\nUSER 0\nCOPY --chown=1234:5678 Dockerfile /f\nRUN stat /f",
			pack(t, file("etc/passwd", "root:x:0:0::/root:/bin/sh\n1234:x:0:0::/root:/bin/sh\n"), file("etc/group", "root:x:0:\n5678:x:0:\n")))
		if !s.ran(o) {
			return
		}
		for _, want := range []string{"is 1234.", "is 1234:5678.", "1234:5678"} {
			if !strings.Contains(o.stderr, want) {
				t.Errorf("want %q:\n%s", want, o.stderr)
			}
		}
	})
}

// TestKaniko2153 and kaniko#106: RUN reads the builder's credentials, and overwrites the builder.
func TestKaniko2153(t *testing.T) {
	asBoth(t, func(t *testing.T, s *site) {
		home := filepath.Join(s.dir, "home/.docker")
		must(t, os.MkdirAll(home, 0o755))
		must(t, os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"auths":{"registry.invalid":{"auth":"YWxpdmU6YWxpdmU="}}}`), 0o644))
		o := s.runs("RUN cat " + home + "/config.json /proc/1/root" + home + "/config.json /proc/self/root" + home + "/config.json; for p in /proc/[0-9]*; do cat $p/root" + home + "/config.json; echo dead > $p/exe; done; true")
		s.succeeded(o)
		s.unseen(o, "YWxpdmU6")
		s.succeeded(s.build("--no-cache")) // with the same program
	})
}
