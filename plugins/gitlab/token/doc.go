// Package token chooses which of GitLab's tokens a registry is shown.
//
//	provider.go   answers a request: the first token that fits, the next one when that was refused
//	settings.go   what the user configured
//	defaults.go   what a GitLab job has without any configuration
//	variables.go  the variables of the job
//	pattern.go    which repositories a rule is about
//
// It runs as a WebAssembly module, so that it keeps to what is light. It never holds a secret: it answers the name of one,
// and the host fills it in.
package token
