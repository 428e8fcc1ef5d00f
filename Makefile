SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

ARCH    ?= $(shell go env GOARCH)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BIN     := bin/firkin-reconcile
GUEST   := build/guest/$(ARCH)

# Tools are pinned here; they are run by version and stay out of go.mod.
GOLANGCI           := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
PROTOC_GEN_GO      := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_GEN_GO_GRPC := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

GO_FILES := $(wildcard $(shell git ls-files --cached --others --exclude-standard '*.go' go.mod go.sum 2>/dev/null))

.PHONY: help deps build sign guest demo test check bench bench-compare clean generate fuzz faults soak crash world vuln sbom reproducible

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that are missing (as root)
	@scripts/deps

build: $(BIN) ## build bin/firkin-reconcile

$(BIN): $(GO_FILES)
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/firkin-reconcile

sign: ## macOS: build with Virtualization.framework and sign, which it asks for
	CGO_ENABLED=1 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN) ./cmd/firkin-reconcile
	codesign --force --sign - --entitlements driver/vz/vz.entitlements $(BIN)

guest: deps $(GUEST)/manifest.json ## build the guest bundle (kernel and initramfs; ARCH=amd64|arm64)

build/guest/%/manifest.json: $(filter guest/% cmd/vminitd/% go.mod,$(GO_FILES))
	go run ./guest/bundle/mkbundle -arch $* -version $(VERSION) -out $(@D)

demo: deps build guest ## run examples/manifests on real VMs, end to end
	scripts/demo

test: deps build guest build/guest/arm64/manifest.json ## run all tests with the race detector, real VMs included
	FIRKIN_REQUIRE_VMS=1 go test -race -timeout 10m -v -run '^TestConformance' ./driver/...
	FIRKIN_REQUIRE_VMS=1 go test -race -timeout 25m -skip '^TestConformance' ./...

check: ## what CI checks besides tests: format, vet, lint, generated code, go.mod, other platforms
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt these:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go mod tidy -diff
	go mod verify
	go run $(GOLANGCI) run ./...
	scripts/check-generated
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go vet $$(scripts/darwin-packages)
	go run ./internal/darwincheck $$(scripts/darwin-packages)

generate: ## regenerate what is generated (needs protoc and its well-known types)
	mkdir -p build/tools
	GOBIN=$(CURDIR)/build/tools go install $(PROTOC_GEN_GO)
	GOBIN=$(CURDIR)/build/tools go install $(PROTOC_GEN_GO_GRPC)
	PATH=$(CURDIR)/build/tools:$$PATH go generate ./...

bench: deps build guest ## run the benchmarks (real VMs; about 15 minutes)
	scripts/bench

bench-compare: deps build guest ## compare with podman and kubeconform on this machine (root; ROUNDS=7)
	scripts/bench-compare $(ROUNDS)

faults: deps build guest ## break things around real VMs and see that no pod is lost (about 75 minutes; FAULTS=TestRandomKill for one)
	FIRKIN_REQUIRE_VMS=1 FIRKIN_FAULTS=all FIRKIN_BINARY=$(CURDIR)/$(BIN) go test -timeout 100m -v -run '$(or $(FAULTS),.)' ./test/faults

soak: deps build guest ## mix faults around real VMs for DURATION (default 30m; FIRKIN_SEED repeats one) and print counts
	FIRKIN_REQUIRE_VMS=1 FIRKIN_SOAK=$(or $(DURATION),30m) FIRKIN_BINARY=$(CURDIR)/$(BIN) go test -timeout 0 -v -run '^TestSoak$$' ./test/faults

crash: deps guest ## kill the reconciler at every step by which it changes the world, three times (real VMs)
	FIRKIN_CRASH=all go test -timeout 90m -v ./test/crash

world: ## simulate WORLD random sequences of events and faults (default 100000)
	FIRKIN_WORLD=$(or $(WORLD),100000) go test -timeout 0 -run '^TestWorld$$' -v ./test/world

fuzz: ## fuzz every parser for FUZZTIME each (default 30s; 2000x is that many inputs)
	scripts/fuzz $(or $(FUZZTIME),30s)

vuln: ## look for known vulnerabilities that the code can reach (VULNDB=latest for a newer database)
	scripts/vuln $(VULNDB)

sbom: build guest ## write what program and guest are made of (CycloneDX) to build/sbom.cdx.json, and check that it is all
	scripts/sbom $(BIN) $(GUEST) $(VERSION) build/sbom.cdx.json

reproducible: deps ## build program and guest twice and compare them
	scripts/check-reproducible

clean: ## remove what was built
	rm -rf bin build .demo
