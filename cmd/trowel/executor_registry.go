package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/trowel-build/trowel/host"
	"github.com/trowel-build/trowel/host/config"
)

// registryFlags are kaniko's flags about registries.
type registryFlags struct {
	insecure, insecurePull     bool
	skipVerify, skipVerifyPull bool
	insecureHosts, unverified  []string
	certificates, clientCerts  []string
	maps, mirrors, helpers     []string
	mirrorsOnly, keepImmutable bool
	pushRetry, downloadRetry   int
}

// registerPull registers what the warmer has too.
func (r *registryFlags) registerPull(flags *pflag.FlagSet) {
	flags.BoolVar(&r.insecurePull, "insecure-pull", false, "pull over plain HTTP where a registry speaks no HTTPS")
	flags.BoolVar(&r.skipVerifyPull, "skip-tls-verify-pull", false, "pull from registries whatever their certificates are")
	flags.StringArrayVar(&r.insecureHosts, "insecure-registry", nil, "reach this `HOST` over plain HTTP if it speaks no HTTPS; may be repeated")
	flags.StringArrayVar(&r.unverified, "skip-tls-verify-registry", nil, "reach this `HOST` whatever its certificate is; may be repeated")
	flags.StringArrayVar(&r.certificates, "registry-certificate", nil, "trust the authorities in a file for a registry: HOST=FILE")
	flags.StringArrayVar(&r.clientCerts, "registry-client-cert", nil, "show a registry a certificate: HOST=CERTIFICATE,KEY")
	flags.StringArrayVar(&r.maps, "registry-map", nil, "pull from other registries instead: HOST=HOST[/PATH][;…]; the registry itself is asked last")
	flags.StringArrayVar(&r.mirrors, "registry-mirror", nil, "pull from this `HOST[/PATH]` instead of docker.io; may be repeated")
	flags.BoolVar(&r.mirrorsOnly, "skip-default-registry-fallback", false, "where there are mirrors, do not ask the registry itself")
	flags.StringArrayVar(&r.helpers, "credential-helpers", nil, "whom to ask for credentials after Docker's configuration: env, google, ecr, acr, gitlab; an empty one means nobody (default: all)")
	flags.IntVar(&r.downloadRetry, "image-download-retry", 0, "repeat requests that fail for a passing reason this often, if that is more than the 5 times that Trowel does")
}

func (r *registryFlags) registerPush(flags *pflag.FlagSet) {
	flags.BoolVar(&r.insecure, "insecure", false, "push over plain HTTP where a registry speaks no HTTPS")
	flags.BoolVar(&r.skipVerify, "skip-tls-verify", false, "reach registries whatever their certificates are, to pull as well")
	flags.IntVar(&r.pushRetry, "push-retry", 0, "as --image-download-retry, for pushes as well")
	flags.BoolVar(&r.keepImmutable, "push-ignore-immutable-tag-errors", false, "take it for success where a tag exists and its registry does not let it be moved")
}

// defaultAttempts is how often Trowel makes a request.
const defaultAttempts = 6

// attempts is how often a request is made.
func (r *registryFlags) attempts(more ...int) (int, error) {
	most := 0
	for _, n := range append(more, r.pushRetry, r.downloadRetry) {
		if n < 0 {
			return 0, usageError{fmt.Errorf("a number of retries is %d, and cannot be negative", n)}
		}
		most = max(most, n)
	}
	return max(defaultAttempts, most+1), nil
}

// apply makes the settings of registries: those of trowel.toml with the flags over them. pushed are the names that are
// pushed to.
func (r *registryFlags) apply(settings map[string]config.Registry, pushed []string) (map[string]config.Registry, config.Registry, error) {
	all := maps.Clone(settings)
	if all == nil {
		all = map[string]config.Registry{}
	}
	change := func(name string, do func(*config.Registry)) {
		s := all[name]
		do(&s)
		all[name] = s
	}
	if err := r.applyMirrors(change); err != nil {
		return nil, config.Registry{}, err
	}
	if err := r.applyCertificates(change); err != nil {
		return nil, config.Registry{}, err
	}
	// As in kaniko, whose rule for private addresses is that of the library by which it reaches registries.
	others := config.Registry{TLS: trust("", "", r.insecurePull, r.skipsVerify()), Private: config.TLSInsecure}
	for _, name := range r.unverified {
		change(registryName(name), func(s *config.Registry) { s.TLS = trust(registryName(name), s.TLS, false, true) })
	}
	for _, name := range r.insecureHosts {
		change(registryName(name), func(s *config.Registry) { s.TLS = trust(registryName(name), s.TLS, true, false) })
	}
	for _, name := range pushed {
		n, err := host.ParseName(name)
		if err != nil {
			return nil, config.Registry{}, badDestination(name, err)
		}
		change(n.Registry, func(s *config.Registry) {
			s.TLS = trust(n.Registry, s.TLS, r.insecure, r.skipVerify)
			if s.TLS == "" && others.TLS != "" && !maybePlain(n.Registry) {
				s.TLS = config.TLSVerify // what holds for pulls does not for pushes
			}
		})
	}
	if others.TLS != "" {
		for name, s := range all {
			if s.TLS == "" && (s.CA == "" && s.ClientCert == "") {
				s.TLS = trust(name, "", r.insecurePull, r.skipsVerify())
				all[name] = s
			}
		}
	}
	if r.mirrorsOnly {
		for name, s := range all {
			s.MirrorsOnly = len(s.Mirrors) > 0
			all[name] = s
		}
	}
	return all, others, nil
}

// skipsVerify says whether certificates of registries that are pulled from are of no interest. The flag that is for pushes by its
// name and text is for pulls as well in kaniko, where that for pulls does nothing.
func (r *registryFlags) skipsVerify() bool { return r.skipVerify || r.skipVerifyPull }

// applyMirrors reads --registry-map and --registry-mirror. The first that is named is asked first.
func (r *registryFlags) applyMirrors(change func(string, func(*config.Registry))) error {
	named := map[string][]string{}
	for _, list := range r.maps {
		for pair := range strings.SplitSeq(list, ";") {
			if pair == "" {
				continue
			}
			from, to, ok := strings.Cut(pair, "=")
			if !ok || from == "" || to == "" {
				return usageError{fmt.Errorf("--registry-map %q: want HOST=HOST[/PATH]", pair)}
			}
			if strings.Contains(from, "/") {
				return usageError{fmt.Errorf("--registry-map %q: a registry is mapped as a whole: leave the path of %q out", pair, from)}
			}
			named[registryName(from)] = append(named[registryName(from)], to)
		}
	}
	for _, to := range r.mirrors {
		if to == "" { // of a job whose variable is not set
			continue
		}
		named["docker.io"] = append(named["docker.io"], to)
	}
	for name, to := range named {
		change(name, func(s *config.Registry) {
			s.Mirrors = slices.Concat(to, slices.DeleteFunc(slices.Clone(s.Mirrors), func(m string) bool { return slices.Contains(to, m) }))
		})
	}
	return nil
}

func (r *registryFlags) applyCertificates(change func(string, func(*config.Registry))) error {
	for _, pair := range r.certificates {
		name, file, ok := strings.Cut(pair, "=")
		if !ok || name == "" || file == "" {
			return usageError{fmt.Errorf("--registry-certificate %q: want HOST=FILE", pair)}
		}
		change(registryName(name), func(s *config.Registry) { s.CA = file })
	}
	for _, pair := range r.clientCerts {
		name, files, _ := strings.Cut(pair, "=")
		certificate, key, ok := strings.Cut(files, ",")
		if !ok || name == "" || certificate == "" || key == "" {
			return usageError{fmt.Errorf("--registry-client-cert %q: want HOST=CERTIFICATE,KEY", pair)}
		}
		change(registryName(name), func(s *config.Registry) { s.ClientCert, s.ClientKey = certificate, key })
	}
	return nil
}

// inKanikosWords has an error's hint name a flag where it would name a setting of trowel.toml.
func inKanikosWords(err error) error {
	cure := host.RegistryCure(err)
	switch cure.Setting {
	case config.CureAuthority:
		return hinted{err, fmt.Sprintf("trust its authority with --registry-certificate %s=FILE, or take any certificate with --skip-tls-verify-registry %[1]s", cure.Host)}
	case config.CureTLS:
		return hinted{err, fmt.Sprintf("if that is meant to be, give --insecure-registry %s", cure.Host)}
	case config.CureClientCert:
		return hinted{err, fmt.Sprintf("if it wants a certificate, give --registry-client-cert %s=CERTIFICATE,KEY", cure.Host)}
	}
	return err
}

// badDestination says what is wrong with a destination. Most are wrong because a variable of the job is not what it was
// taken for.
func badDestination(name string, err error) error {
	wrong := fmt.Errorf("--destination: %w", err)
	_, tag, _ := strings.Cut(name[strings.IndexByte(name, '/')+1:], ":")
	switch {
	case name == "":
		return usageError{hinted{errors.New("--destination is empty"), "is a variable of the job not set?"}}
	case strings.HasSuffix(name, ":"):
		return usageError{hinted{wrong, "there is no tag after the colon: is a variable of the job not set? CI_COMMIT_TAG of GitLab is for pipelines of tags alone"}}
	case strings.Contains(tag, "/"):
		return usageError{hinted{wrong, "a tag cannot have a slash: GitLab has CI_COMMIT_REF_SLUG for names of branches"}}
	}
	return usageError{wrong}
}

// trust is how a connection to a registry is protected where it was now and the flags ask for less. One that may speak plain HTTP
// without a flag may have no certificate at all, unless its name is empty: it is any.
func trust(name string, now config.TLSMode, insecure, unverified bool) config.TLSMode {
	switch {
	case insecure, unverified && now == "" && maybePlain(name):
		return config.TLSInsecure
	case unverified && now != config.TLSInsecure && now != config.TLSOff:
		return config.TLSSkip
	}
	return now
}

// registryName is a registry as trowel.toml names it; of an address it is the host.
func registryName(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	name, _, _ = strings.Cut(name, "/")
	switch name {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return name
}

// maybePlain says whether a registry may be reached over plain HTTP without a flag, as in kaniko: on this machine, or in a private
// network by its name.
func maybePlain(name string) bool { return onThisMachine(name) || host.PrivateRegistry(name) }

// privateRegistries are those in private networks of which nobody has said how they are reached.
func privateRegistries(all map[string]config.Registry) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name string) bool {
		s := all[name]
		return !host.PrivateRegistry(name) || s.TLS != "" || s.CA != "" || s.ClientCert != ""
	})
}

// onThisMachine says whether a registry is on loopback.
func onThisMachine(name string) bool {
	h, _, _ := strings.Cut(name, ":")
	address, err := netip.ParseAddr(h)
	return h == "localhost" || err == nil && address.IsLoopback()
}
