// Package plugin runs a plugin: the main function of one calls [Main] and nothing else.
//
//	func main() {
//		plugin.Main(sdk.Plugin{Name: "nothing", Cache: newNothing})
//	}
//
// Built with GOOS=wasip1 GOARCH=wasm and -buildmode=c-shared it is a WebAssembly module, otherwise a process.
package plugin
