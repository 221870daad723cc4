package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// vulnerabilities are those that other builders had since 2019, by the name of the test that holds the class off here. A test is
// named after one of several that are of one class; the others are in its comment.
var vulnerabilities = []struct{ id, of, class string }{
	{"CVE2018_15664", "docker", "a directory is swapped for a link while it is copied; CVE-2019-14271: libraries of the image are loaded"},
	{"CVE2019_13139", "docker", "a ref is an option of git"},
	{"CVE2020_10696", "buildah", "an archive's link, and a file through it"},
	{"CVE2021_29136", "umoci", "a layer's root is a link"},
	{"CVE2021_3602", "buildah", "the builder's environment"},
	{"CVE2022_27651", "buildah", "inheritable capabilities"},
	{"CVE2022_2989", "podman", "supplementary groups"},
	{"CVE2023_26054", "BuildKit", "credentials of an address"},
	{"CVE2023_49569", "go-git", "its paths; also CVE-2026-45571"},
	{"CVE2024_11218", "buildah", "a race for the source of a mount"},
	{"CVE2024_1753", "buildah", "a mount's source is a link"},
	{"CVE2024_21626", "runc", "WORKDIR by descriptor"},
	{"CVE2024_23650", "BuildKit", "malformed requests; also one of those that 0.31.2 closed"},
	{"CVE2024_23651", "BuildKit", "a race for the source of a mount"},
	{"CVE2024_23652", "BuildKit", "mount points are removed through a link"},
	{"CVE2024_23653", "BuildKit", "entitlements"},
	{"CVE2024_24557", "moby", "keys that leave something out"},
	{"CVE2024_3727", "containers/image", "malformed digests"},
	{"CVE2024_45310", "runc", "a link where something is mounted"},
	{"CVE2024_9407", "buildah", "options of mounts"},
	{"CVE2024_9675", "buildah", "the ID of a cache is a path"},
	{"CVE2024_9676", "containers/storage", "passwd is a link"},
	{"CVE2025_31133", "runc", "a masked path is a link"},
	{"CVE2025_52565", "runc", "/dev/console is a link"},
	{"CVE2025_52881", "runc", "procfs is redirected"},
	{"CVE2025_58183", "archive/tar", "the map of a sparse file has no end"},
	{"CVE2025_61728", "Go", "decompression bombs"},
	{"CVE2026_15788", "BuildKit", "the destination of an output"},
	{"CVE2026_15789", "BuildKit", "what a frontend removes is a path that leads up"},
	{"CVE2026_28406", "kaniko", "archives write into the builder's directory"},
	{"CVE2026_33747", "BuildKit", "names from plugins and from the web are paths"},
	{"CVE2026_33748", "BuildKit", "the directory in a repository leads out"},
	{"CVE2026_41579", "runc", "/dev is a link"},
	{"CVE2026_42574", "apko", "writes through a link by any call"},
	{"CVE2026_44517", "buildah", "the Dockerfile is a link"},
	{"CVE2026_46680", "containerd", "a number is looked up as a name"},
	{"CVE2026_47262", "containerd", "a huge passwd; also GHSA-72x6-4j93-7w86, GHSA-mjcv-p78q-w5fw"},
	{"GHSA7236_3392_c5c6", "BuildKit", "unknown values of enumerations"},
	{"GHSAhw3h_2gp9_cxpv", "BuildKit", "HEAD of a remote is an option of git"},
	{"Kaniko2153", "kaniko", "the builder's credentials"},
}

// TestVulnerabilities demands a test named after each.
func TestVulnerabilities(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("../../go.mod"); err != nil {
		t.Skip("the source tree is not here")
	}
	var found []string
	test := regexp.MustCompile(`(?m)^func Test((?:CVE|GHSA|Kaniko)\w+)\(t \*testing\.T\)`)
	must(t, filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range test.FindAllStringSubmatch(string(text), -1) {
			found = append(found, m[1])
		}
		return err
	}))
	for _, v := range vulnerabilities {
		if !slices.Contains(found, v.id) {
			t.Errorf("no test is named Test%s (%s: %s)", v.id, v.of, v.class)
		}
	}
	for _, name := range found {
		if !slices.ContainsFunc(vulnerabilities, func(v struct{ id, of, class string }) bool { return v.id == name }) {
			t.Errorf("Test%s is of a vulnerability that is not listed", name)
		}
	}
}

// TestCVE2023_49569 and CVE-2026-45571 (go-git): that library is not part of Trowel.
func TestCVE2023_49569(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Skip("the source tree is not here")
	}
	if strings.Contains(string(text), "go-git") {
		t.Error("go.mod requires go-git")
	}
}

// TestCVE2024_3727 (containers/image): a digest that is none is used as a path, or not verified.
func TestCVE2024_3727(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	must(t, os.MkdirAll(s.dir+"/home/layout/blobs/sha256", 0o755))
	must(t, os.WriteFile(s.dir+"/home/layout/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	for _, d := range []string{
		"sha256:", "sha256:../../../canary/file", "sha256:" + strings.Repeat("0", 63), "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("0", 65),
		"md5:d41d8cd98f00b204e9800998ecf8427e", "sha512:" + strings.Repeat("0", 64), "../../canary:file", "sha256+b64:x", ":", "sha256:" + strings.Repeat("0", 62) + "\\n0",
	} {
		s.write("Dockerfile", "FROM "+s.host()+"/evil@"+d+"\n")
		s.refused(s.build(), `Dockerfile:1`)
		s.refused(s.trowel("inspect", "oci-layout://"+s.dir+"/home/layout@"+d))
		index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":6,"digest":"%s"}]}`, d)
		must(t, os.WriteFile(s.dir+"/home/layout/index.json", []byte(index), 0o644))
		o := s.trowel("inspect", "oci-layout://"+s.dir+"/home/layout")
		s.unseen(o)
		s.refused(o)
	}
}

// TestCVE2024_23650, and one of those that BuildKit 0.31.2 closed: a malformed request ends the daemon.
func TestCVE2024_23650(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "FROM", "FROM  AS", "FROM scratch AS\n", "FROM scratch\nCOPY", "FROM scratch\nCOPY --from= a b", "FROM scratch\nCOPY --from=-1 a b", "FROM scratch\nCOPY --from=99999999999999999999 a b",
		"FROM scratch\nRUN --mount=", "FROM scratch\nRUN --mount=type= x", "FROM scratch\nONBUILD", "FROM scratch\nONBUILD ONBUILD RUN x", "FROM scratch\nHEALTHCHECK", "FROM scratch\nHEALTHCHECK --retries=-1 CMD x",
		"FROM scratch\nEXPOSE -1", "FROM scratch\nEXPOSE 1-99999999999", "FROM scratch\nUSER", "FROM scratch\nCOPY <<", "FROM scratch\nCOPY <<EOF /x", "FROM scratch\nRUN <<EOF\n", "FROM scratch\nADD --checksum=x a b",
		"FROM scratch\nADD --chmod=99999 a b", "FROM scratch\nCOPY --chown=:: a b", "FROM scratch\nCOPY [\"a\"] b c", "FROM --platform= scratch", "FROM --platform=/// scratch", "ARG\nFROM $x", "FROM scratch\nENV =x", "FROM scratch\nLABEL", "# escape=x\nFROM scratch", "FROM scratch\nSTOPSIGNAL", "FROM scratch\nSHELL []",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.write("Dockerfile", text+"\n")
			if o := s.build(); o.code != 0 || strings.Contains(o.stderr, "panic") {
				s.refused(o)
			}
		})
	}
}

// TestCVE2024_23653 (BuildKit): a privileged container without the right to it.
func TestCVE2024_23653(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, run := range []string{"RUN --security=insecure true", "RUN --mount=type=tmpfs,target=/x --security=insecure true"} {
		s.write("Dockerfile", "FROM "+s.pushBase(t, "1")+"\n"+run+"\n")
		s.refused(s.build(), `Dockerfile:2`, `security`)
	}
}

// TestGHSA7236_3392_c5c6 (BuildKit): an unknown mode of security turned it off.
func TestGHSA7236_3392_c5c6(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	base := s.pushBase(t, "1")
	for _, run := range []string{
		"RUN --security=unconfined true", "RUN --security=2 true", "RUN --security=SANDBOX, true", "RUN --network=bridge true", "RUN --network=1 true",
		"RUN --mount=type=cache,target=/c,sharing=exclusive true", "RUN --mount=type=volume,target=/c true",
	} {
		s.write("Dockerfile", "FROM "+base+"\n"+run+"\n")
		s.refused(s.build(), `Dockerfile:2`)
	}
	s.write("Dockerfile", "FROM "+base+"\nRUN true\n")
	for _, flags := range [][]string{{"--isolation", "nothing"}, {"--isolation", ""}, {"--network", "everything"}} {
		if o := s.trowel(append(append([]string{"build", "--progress", "plain"}, flags...), s.context)...); flags[1] != "" {
			s.refused(o)
		}
	}
}

// TestCVE2024_24557 (moby): instructions that are not part of a key let one image pass for another. See also TestEveryFieldCounts.
func TestCVE2024_24557(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.write("f", "f")
	digests := map[string]string{}
	for _, lines := range []string{
		"", "HEALTHCHECK NONE", "HEALTHCHECK CMD a", "HEALTHCHECK --retries=2 CMD a", "ONBUILD RUN a", "ONBUILD RUN b", "ENV a=b", "LABEL a=b", "USER a", "USER b", "WORKDIR /a", "EXPOSE 1", "VOLUME /a",
		"STOPSIGNAL 9", "SHELL [\"a\"]", "CMD a", "ENTRYPOINT a", "MAINTAINER a", "ARG a=b", "COPY --chown=1 f /f", "COPY --chmod=600 f /f", "COPY --link f /f", "COPY f /g", "ADD f /f", "COPY <<g /\nf\ng", "COPY <<g /\nh\ng",
	} {
		s.write("Dockerfile", "FROM scratch\nCOPY f /h\n"+lines+"\n")
		o := s.trowel("build", "-q", "--build-arg", "SOURCE_DATE_EPOCH=1", "-o", "type=tar,dest=/dev/null", s.context)
		s.succeeded(o)
		if other, ok := digests[o.stdout]; ok {
			t.Errorf("%q and %q give the same image", lines, other)
		}
		digests[o.stdout] = lines
	}
}
