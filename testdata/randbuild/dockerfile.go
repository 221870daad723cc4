package randbuild

import (
	"fmt"
	"strings"
)

// stage makes a stage.
func (m *maker) stage(i int) {
	s := &stage{}
	switch m.IntN(4) {
	case 0:
		if i > 0 {
			from := m.IntN(i)
			s.paths, s.users = append(s.paths, m.stages[from].paths...), m.stages[from].users
			m.prepare(fmt.Sprintf("FROM s%d AS s%d", from, i))
			break
		}
		fallthrough
	case 1, 2:
		m.prepare(fmt.Sprintf("FROM scratch AS s%d", i))
		m.prepare(fmt.Sprintf("COPY --from=%s /bin/sh %s/sh", m.base, Tools))
		// What a RUN would leave.
		m.prepare(fmt.Sprintf("COPY --from=%s --parents /dev /proc /sys /", m.base))
	default:
		s.users = true
		m.prepare(fmt.Sprintf("FROM %s AS s%d", m.base, i))
		m.prepare(fmt.Sprintf("COPY --from=%s /bin/sh %s/sh", m.base, Tools))
	}
	m.prepare(fmt.Sprintf(`SHELL ["%s/sh", "-c"]`, Tools))
	for range 1 + m.IntN(5) {
		m.Steps = append(m.Steps, Step{Text: m.instruction(i, s)})
	}
	m.stages = append(m.stages, s)
}

func (m *maker) prepare(text string) { m.Steps = append(m.Steps, Step{Text: text, Prepares: true}) }

func (m *maker) instruction(i int, s *stage) string {
	switch m.IntN(16) {
	case 0, 1, 2, 3, 4, 5:
		return m.copy("COPY", i, s)
	case 6, 7:
		return m.copy("ADD", i, s)
	case 8:
		return "WORKDIR " + m.dest(s)
	case 9:
		if s.users {
			return "USER " + m.of("app", "app:wheel", "0", "1000", "1000:50", "app:10")
		}
		return "USER " + m.of("0", "1000", "1000:50", "0:7")
	case 10:
		return m.of("ARG", "ENV") + " " + m.of("v", "w") + "=" + m.of("a", "b", "$v", "${w:-c}", "a/b")
	case 11:
		return m.of(`LABEL l="$v" m=${w}`, "EXPOSE 80 8${v:+1}/udp", "VOLUME /"+m.path(), `CMD ["a"]`, "ENTRYPOINT $v", "STOPSIGNAL 9", "ENV PATH=$PATH:/a")
	case 12:
		name := m.name()
		return "COPY <<" + m.of(name, "'"+name+"'") + " " + m.of("/", "/a/", "/b/", "c/") + "\n$v ${w}\n" + name
	}
	m.Runs = true
	return m.run(s)
}

// copy makes a COPY or an ADD.
func (m *maker) copy(keyword string, i int, s *stage) string {
	words := []string{keyword}
	var there []string
	for _, f := range m.Files {
		there = append(there, f.Path)
	}
	if keyword == "COPY" && i > 0 && m.in(2) {
		from := m.IntN(i)
		words = append(words, m.of(fmt.Sprintf("--from=s%d", from), fmt.Sprintf("--from=%d", from)))
		there = m.stages[from].paths
	}
	words = append(words, m.copyFlags(keyword, s)...)
	several := false
	for more := true; more; more = m.in(4) {
		source, matches := m.source(there)
		several = several || matches || more && len(words) > 1 && !strings.HasPrefix(words[len(words)-1], "--")
		words = append(words, source)
	}
	dest := m.dest(s)
	if several && !strings.HasSuffix(dest, "/") {
		dest += "/"
	}
	s.paths = append(s.paths, strings.Trim(dest, "/")+"/"+m.path())
	return strings.Join(append(words, dest), " ")
}

// source is a source, and whether it may match several files.
func (m *maker) source(there []string) (source string, several bool) {
	switch n := m.IntN(12); {
	case n < 6 && len(there) > 0:
		return there[m.IntN(len(there))], false
	case n < 7 && len(there) > 0:
		p := there[m.IntN(len(there))]
		return m.of(p+"/", "/"+p, "./"+p, "../"+p, p+"/."), false
	case n < 8:
		return m.of(".", "/", "./"), false
	case n < 9 && m.in(3):
		return m.path(), false
	case n < 10:
		return m.name() + "/*", true
	}
	return m.of("*", "?", "*/*", "[a-c]", "*.txt", "a*", "*/b"), true
}

func (m *maker) copyFlags(keyword string, s *stage) []string {
	var flags []string
	if m.in(4) {
		flags = append(flags, "--link")
	}
	if keyword == "COPY" && m.in(5) {
		flags = append(flags, "--parents")
	}
	if m.in(5) {
		flags = append(flags, "--exclude="+m.pattern())
	}
	if m.in(5) {
		flags = append(flags, "--chmod="+m.of("755", "0600", "4755", "u=rwX,go=rX", "a+x", "g-r", "2770", "u+s,o=", "-x"))
	}
	if m.in(4) {
		owner := m.of("1000", "1000:50", "0:50", "7")
		if s.users && (len(flags) == 0 || flags[0] != "--link") {
			owner = m.of("app", "app:staff", "1000", "root:wheel", "app:7", "0:50")
		}
		flags = append(flags, "--chown="+owner)
	}
	if keyword == "ADD" && m.in(6) {
		flags = append(flags, "--unpack="+m.of("true", "false"))
	}
	return flags
}

// dest is a destination or a directory.
func (m *maker) dest(s *stage) string {
	p := m.path()
	if len(s.paths) > 0 && m.in(3) {
		p = s.paths[m.IntN(len(s.paths))]
	}
	return m.of("/", "/"+p, "/"+p+"/", p, p+"/", "./"+p, "/"+p+"/.", "/"+m.name(), "/"+m.name()+"/", "../"+p, "/$v", "${w:-a}/", ".", "./")
}

// run makes a RUN of commands that may fail one by one.
func (m *maker) run(s *stage) string {
	var all []string
	for range 1 + m.IntN(3) {
		all = append(all, m.command(s)+" || true")
	}
	return "RUN " + strings.Join(all, "; ")
}

func (m *maker) command(s *stage) string {
	at := func() string {
		if len(s.paths) > 0 && m.in(2) {
			return "/" + s.paths[m.IntN(len(s.paths))]
		}
		return m.of("/", "/", "") + m.path()
	}
	p, q := at(), at()
	s.paths = append(s.paths, strings.TrimPrefix(q, "/"))
	switch m.IntN(12) {
	case 0, 1:
		return "mkdir -p " + q
	case 2, 3:
		return "echo " + m.of("run", "$v") + " > " + q
	case 4:
		return "echo more >> " + q
	case 5, 6:
		return "rm -r " + p
	case 7:
		return "ln -s " + m.link() + " " + q
	case 8:
		return "ln " + p + " " + q
	case 9:
		return "mv " + p + " " + q
	case 10:
		return "chmod " + m.of("700", "4755", "600", "1777") + " " + p
	}
	return "chown " + m.of("1000:1000", "0:50") + " " + p
}
