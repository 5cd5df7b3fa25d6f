# MobileID. `make help` lists what there is to do.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

# What the program runs with: make run KV=redis://127.0.0.1:6379 ARGS='--listen 127.0.0.1:8085'
KV ?=
DB ?=
ARGS ?=
# make run TLS=1 HOST=laptop.lan; only from the command line, since shells have a HOST of their own
tls = $(if $(filter-out 0,$(TLS)),--tls$(if $(filter command%,$(origin HOST)), --host '$(HOST)'))
FUZZTIME ?= 20s
CHAOS_ROUNDS ?= 30
TEST ?= ./...

# Without the tag gRPC, which the trace exporters bring, has templates in it whose
# look-ups by name keep every method of every library: 10 MB (decision 0016).
export GOFLAGS := $(strip $(GOFLAGS) -tags=grpcnotrace)

tool := go tool -modfile=tools/go.mod

# The race detector watches everything but the inside of Go's own primitives and of
# SQLite. The phones of the tests stretch their PINs by 100 000 rounds of HMAC, and a
# watched round takes six times as long. SQLite is C in Go's clothes, and its memory is
# not Go's: of that the detector sees nothing, however often it is asked. That two use a
# connection at once it sees in modernc.org/libc, which stays watched.
unwatched := -gcflags=crypto/internal/fips140/...=-race=false -gcflags=modernc.org/sqlite/lib=-race=false

# One set of compiled packages for the binary and the checkers, statically
# linked; a second one, with the race detector, for the tests.
build release size run demo lint verify generate smoke fuzz bench bench-full: export CGO_ENABLED = 0
race: export CGO_ENABLED = 1

.PHONY: help
help: ## print this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  make run KV=redis://127.0.0.1:6379    on Redis instead of the embedded store"
	@echo "  make run DB=postgres://me@host/name   on PostgreSQL"
	@echo "  make run TLS=1 HOST=laptop.lan         https on the local network, for a real phone"
	@echo "  make run ARGS='--listen 127.0.0.1:0'  with flags of mobileid demo"
	@echo "  make race TEST=./config               some tests only"

.PHONY: build
build: ## build bin/mobileid
	@mkdir -p bin
	go build -o bin/mobileid ./cmd/mobileid

.PHONY: release
release: ## build bin/mobileid as it is shipped: stripped, without paths of this machine
	@mkdir -p bin
	go build -trimpath -ldflags='-s -w' -o bin/mobileid ./cmd/mobileid

.PHONY: size
size: ## fail if the program as it is shipped is larger than 40 MB
	@scripts/size

.PHONY: run
run: build ## build, start server and demo shop, print the addresses
	@$(if $(KV),MOBILEID_KV__URL='$(KV)' )$(if $(DB),MOBILEID_DB__URL='$(DB)' )bin/mobileid demo $(tls) $(ARGS)

.PHONY: demo
demo: run ## the same as run

.PHONY: test
test: ## everything CI runs: tools, verify, lint, size, smoke, all tests with -race
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory verify
	@$(MAKE) --no-print-directory -j 2 lint size smoke
	@$(MAKE) --no-print-directory race

.PHONY: race
# Many tests wait for a time to be over: four packages at once keep two cores busy.
race: ## the Go tests with the race detector
	@go test -race $(unwatched) -p 4 -timeout 20m $(TEST)

.PHONY: deps
deps: ## install what the tests need, where it is missing
	@scripts/deps

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@scripts/format
	go vet ./...
	@$(tool) staticcheck ./...

.PHONY: generate
generate: ## rewrite generated files: pages, protocol vectors
	@scripts/generate

.PHONY: verify
verify: ## fail if a generated file is not what its source makes
	@scripts/verify

.PHONY: smoke
smoke: build ## the whole story against a real server, on every engine and over TLS
	@scripts/smoke bin/mobileid

.PHONY: chaos
chaos: export CGO_ENABLED = 1
chaos: ## kill nodes and stores under load, many more times than make test does
	CHAOS_ROUNDS=$(CHAOS_ROUNDS) go test -count 1 -timeout 60m -v ./test/chaos

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s) each
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## CPU a flow, as ratios to a floor server and to node-oidc-provider
	go run ./bench $(ARGS)

.PHONY: bench-full
bench-full: ## the same with more rounds, and with 100 000 users and requests
	go run ./bench -rounds 20 -growth 100000 $(ARGS)
