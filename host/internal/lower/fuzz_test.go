package lower

import (
	"path"
	"strings"
	"testing"

	"github.com/trowel-build/trowel/host/internal/effect"
)

// FuzzMount lowers any --mount: an error has a place, and what is mounted has a clean target, and a source that leads nowhere else.
func FuzzMount(f *testing.F) {
	for _, text := range []string{
		"type=cache,target=/c,id=../..,sharing=locked,mode=0700,uid=1,gid=2", "type=bind,from=a,source=../x,target=m,rw", "type=tmpfs,target=/t,size=1g", "type=secret,id=s,env=S", "type=secret,target=/x/../y,required=false",
		"type=ssh,mode=0777", `"type=tmpfs","target=/a,b"`, "target=${x:-/d}", "type=$x", "type=cache,target=/", "type=bind,target=..,ro=maybe", "type=tmpfs,target=/t,size=-1", "type=cache,target=/c,mode=99999999999",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.ContainsAny(text, "\n\r \t<") {
			return // another flag, or another line
		}
		eachEffect(t, given{text: "FROM scratch AS a\nFROM scratch\nARG x=y\nWORKDIR /w\nRUN --mount=" + text + " true\n"}, checkMounts)
	})
}

func checkMounts(t *testing.T, e effect.Effect) {
	t.Helper()
	x, ok := e.(effect.Exec)
	if !ok {
		return
	}
	for _, m := range x.Mounts {
		if m.Target == "" && m.Env != "" {
			continue
		}
		if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || m.Target == "/" {
			t.Errorf("%+v: target", m)
		}
		if s := m.Source; m.ReadsFiles() && (path.IsAbs(s) || path.Clean(s) != s || s == ".." || strings.HasPrefix(s, "../")) {
			t.Errorf("%+v: source", m)
		}
		if m.Size < 0 || m.Mode < effect.AsSource || m.Mode > 0o7777 || m.UID < 0 || m.GID < 0 {
			t.Errorf("%+v: a number", m)
		}
	}
}
