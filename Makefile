# Trowel's targets. `make help` lists them.
GO            ?= go
GOFUMPT       ?= mvdan.cc/gofumpt@v0.12.0
GOLANGCI_LINT ?= github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION       ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BIN           ?= bin/trowel
PLUGINS       := gitlab jsonnet s3
LDFLAGS        = -s -w -X main.version=$(VERSION)

export CGO_ENABLED = 0

.PHONY: help build plugins code-arm64 image test race e2e oracle others table projects lint fmt fuzz differ bench bench-image quickstart check clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: plugins ## build bin/trowel, one static binary with its plugins in it
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/trowel

plugins: ## compile the plugins of plugins/ to WebAssembly, and that for this processor, to be embedded by the next build
	$(GO) build -o bin/bare ./cmd/trowel
	@set -e; for p in $(PLUGINS); do bin/bare plugin build plugins/$$p -o plugins/dist/$$p.wasm; done
	$(GO) run ./plugins/pack $(PLUGINS:%=plugins/dist/%.wasm)
	$(GO) run ./plugins/pack -code plugins/code/$$($(GO) env GOARCH)

code-arm64: plugins ## compile the plugins to machine code for arm64 too, with qemu-aarch64-static: some minutes, before make image
	GOARCH=arm64 $(GO) run -exec qemu-aarch64-static ./plugins/pack -code plugins/code/arm64

# What `make image` makes: for which platforms, with a shell or without, under which name, and where it goes.
PLATFORMS     ?= linux/amd64,linux/arm64
TARGET        ?= executor
NAME          ?= trowel:$(TARGET)
OUTPUT        ?= type=oci,dest=bin/image.tar
comma         := ,
ARCHS          = $(subst linux/,,$(subst $(comma), ,$(PLATFORMS)))

image: build ## on a Debian-like machine: build the container image (TARGET=debug: with a shell) as bin/image.tar; OUTPUT=type=registry NAME=… pushes it
	cmd/trowel/image/gather.sh bin/image $(ARCHS)
	@set -e; for a in $(ARCHS); do mkdir -p bin/image/bin/$$a; ln -sf executor bin/image/bin/$$a/warmer; ln -sf executor bin/image/bin/$$a/trowel; \
	  echo "go build for $$a"; GOARCH=$$a $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/image/bin/$$a/executor ./cmd/trowel; done
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(BIN) build -f cmd/trowel/image/Dockerfile --target $(TARGET) \
	  --platform $(PLATFORMS) --build-arg VERSION=$(VERSION) --rewrite-timestamp --normalize-context \
	  --compression-level 9 -t $(NAME) -o $(OUTPUT) bin/image

test: ## run the tests; what only root may do is tested when run as root
	$(GO) test -timeout 45m ./...

race: ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./...

e2e: ## as root on a Debian-like machine: real registry, BuildKit as oracle, Docker engine; installs what it needs
	$(GO) test -tags e2e -count 1 -timeout 60m -skip '^TestOracle$$|^TestEndToEnd$$/^projects$$' ./testdata/e2e/...
	$(GO) test -tags e2e -count 1 -timeout 15m ./host/internal/registry/... ./host/internal/output/... ./host/internal/git/...
	$(GO) test -tags e2e -count 1 -timeout 30m -run 'Everywhere|HostileNumber' ./cmd/trowel

oracle: ## as root on a Debian-like machine: have BuildKit write the golden files of testdata/dockerfiles (CASES='pattern')
	$(GO) test -tags e2e -count 1 -timeout 20m -run '^TestOracle$$' ./testdata/e2e -update -cases '$(or $(CASES),*)'

others: ## as root on a Debian-like machine: build the corpus as ordinary users too, with many IDs and with one
	$(GO) test -tags e2e -count 1 -timeout 40m -run '^TestCorpusAsOthers$$' ./cmd/trowel

table: ## as root on a Debian-like machine: build each Dockerfile of testdata/e2e/containers in each environment of table.txtar, also what `make e2e` leaves out
	$(GO) test -tags e2e -count 1 -timeout 90m -run '^TestEndToEnd$$/^containers$$/^table$$' ./testdata/e2e -whole

projects: ## as root on a Debian-like machine: build projects as people have them, compare with BuildKit and run them
	$(GO) test -tags e2e -count 1 -timeout 60m -run '^TestEndToEnd$$/^projects$$' ./testdata/e2e

lint: ## run golangci-lint
	CGO_ENABLED=0 $(GO) run $(GOLANGCI_LINT) run ./...

fmt: ## format the code
	$(GO) run $(GOFUMPT) -w $$(git ls-files '*.go')

fuzz: ## fuzz each parser for FUZZTIME (default 30s)
	@set -e; for p in $$(grep -rl --include='*_test.go' '^func Fuzz' host sdk builtin | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -ho '^func Fuzz[A-Za-z]*' $$p/*_test.go | cut -c6-); do \
	    echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $${FUZZTIME:-30s} ./$$p; done; done

differ: ## make BUILDS (default 1000) random builds from number FIRST on in several ways; as root on a Debian-like machine with BuildKit too
	$(GO) test -count 1 -timeout 10h -run 'TestDiffer$$' ./cmd/trowel -differ.first $${FIRST:-1000} -differ.builds $${BUILDS:-1000}
	@[ "$$(id -u)" != 0 ] || $(GO) test -tags e2e -count 1 -timeout 10h -run 'TestDiffer$$' ./testdata/e2e -differ.first $${FIRST:-1000} -differ.builds $${BUILDS:-1000}

bench: ## as root: time Trowel against BuildKit and buildah on the same contexts, in one run
	$(GO) run ./bench

bench-image: ## as root: time Trowel's image against kaniko, each in a default container of a Docker engine, in one run
	$(GO) run ./bench -builders image,kaniko

quickstart: build ## build examples/quickstart, push it to a registry on loopback, pull it back, rebuild it
	$(GO) run ./examples/quickstart -trowel $(BIN)

check: ## all that a change must pass, but for e2e; fails if it leaves the tree changed
	$(GO) vet ./... && $(GO) vet -tags e2e ./...
	GOARCH=arm64 $(GO) vet ./...
	@test -z "$$($(GO) run $(GOFUMPT) -l $$(git ls-files '*.go'))" || { echo 'run make fmt'; exit 1; }
	$(GO) mod tidy -diff
	$(MAKE) lint race
	git diff --exit-code

clean: ## remove what build made
	rm -rf bin plugins/dist/*.wasm* plugins/code/*/*.zst*
