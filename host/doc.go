// Package host builds container images: [Build] takes a [Request] and returns when the image is where the request says.
//
//	func main() {
//		launcher := host.NewLauncher() // first: a process of RUN starts as another run of this program
//		result, err := host.Build(ctx, host.Request{
//			Context:  ".",
//			Tags:     []string{"registry.example.com/app:1"},
//			Push:     host.On,
//			Launcher: launcher,
//		})
//	}
//
// A request without a launcher can build every Dockerfile that has no RUN. Where running processes takes a user namespace,
// Build returns [ErrNeedsUserNamespace] before anything was built; [Launcher.EnterUserNamespace] then runs the program again
// inside one.
//
// Nothing is read from the environment or from configuration files, but for proxies, the machine's /etc/resolv.conf and the
// variables that [Secret] names:
// caches, credentials and registries' settings are values of the request. The interfaces of package sdk are all that a
// cache or a credential provider has to implement.
package host
