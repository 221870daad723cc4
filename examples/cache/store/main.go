// Command store is a web server that takes PUT, GET and HEAD, and keeps what it is sent in a directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "serve on this `address`")
	dir := flag.String("dir", "store.d", "keep the objects in this `directory`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // no request leads out of it
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(root.FS())) // HEAD and ranges too
	mux.HandleFunc("PUT /{object...}", func(w http.ResponseWriter, r *http.Request) {
		if err := put(root, r.PathValue("object"), r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		return err
	}
	return nil
}

// put writes an object beside its place, and shows it when it is whole.
func put(root *os.Root, object string, content io.Reader) error {
	if err := root.MkdirAll(path.Dir(object), 0o755); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d", object, time.Now().UnixNano())
	f, err := root.Create(part)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, root.Remove(part))
	}
	return root.Rename(part, object)
}
