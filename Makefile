# What a developer can do here. `make` alone lists it.

GOLANGCI_VERSION := v2.15.0
TOOLS            := bin/tools
GOLANGCI         := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)

REDOCLY_VERSION  := 2.77.0
REDOCLY          := $(TOOLS)/redocly-$(REDOCLY_VERSION)

# The test of 100ms's SDK, with dependencies of its own.
HMS := sdk/hms-compat

BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da
BENCHSTAT         := $(TOOLS)/benchstat-$(BENCHSTAT_VERSION)

GOVULNCHECK_VERSION := v1.9.0
GOVULNCHECK         := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)

CYCLONEDX_VERSION := v1.10.0
CYCLONEDX         := $(TOOLS)/cyclonedx-gomod-$(CYCLONEDX_VERSION)

# Where `make vuln` looks known vulnerabilities up.
VULNDB ?= https://vuln.go.dev

# What `make bench` measures, for how long each, in how many rounds, and with which version it is compared.
BENCH     ?= .
BENCHTIME ?= 0.5s
COUNT     ?= 6
BASE      ?=

# What `make profile` has a node do, as `hearth bench` takes it, and for how many seconds it is looked at.
LOAD    ?= --scenario rooms
SECONDS ?= 10

# What `make perf` measures.
PERF ?= .

# What `make check` and `make faults` run, and the seed that they repeat (0: new ones); how long the endurance test lasts.
CHECK  ?= .
FAULTS ?= .
SEED   ?= 0
SOAK   ?= 3m

# For how long `make fuzz` runs each target, and which ones.
FUZZTIME ?= 30s
FUZZ     ?= .

# Not a prerequisite of anything: asked only where it is used.
VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.DEFAULT_GOAL := help
.PHONY: help test check faults fuzz sdk-test build run lint openapi-lint fmt bench bench-save profile perf compose-test vuln vuln-db sbom reproducible clean cc npm

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Where a kernel or a container has no io_uring its tests fail, unless HEARTH_TEST_IO_URING=optional leaves them out.
IO_URING = $(or $(HEARTH_TEST_IO_URING),$(if $(filter Linux,$(shell uname -s)),required,optional))

# -count=1: results on a real Redis depend on what the test cache can't see.
# -timeout: the longest a package may take on two slow cores, with -race.
test: cc ## run all tests, with -race and on a real Redis (installs it on Debian)
	@sh scripts/ensure-redis.sh
	HEARTH_TEST_REDIS=required HEARTH_TEST_IO_URING=$(IO_URING) go test -race -count=1 -timeout 14m ./...
	@# what is counted without the race detector, which takes memory of its own
	HEARTH_TEST_REDIS=required go test -count=1 -run 'TestCallAllocates|TestIdleConnection' ./httpapi

check: ## check the whole by machines, for many minutes; CHECK=regexp of tests, SEED=n to repeat a run
	@sh scripts/ensure-redis.sh
	HEARTH_TEST_REDIS=required go test -count=1 -timeout 60m -v -run '$(CHECK)' ./internal/check -args -long -seed=$(SEED)

# One package's tests run beside each other where they mostly wait; -parallel bounds how many clusters there are at a time.
faults: cc ## kill nodes, paths and Redis for long, and write docs/guarantees.md's figures; FAULTS=regexp SEED=n SOAK=1h
	@sh scripts/ensure-redis.sh
	HEARTH_TEST_REDIS=required go test -count=1 -timeout 4h -parallel 2 -v -run '$(FAULTS)' ./internal/faults \
		-args -long -seed=$(SEED) -soak=$(SOAK) -table=$(CURDIR)/docs/guarantees.md

fuzz: ## look for inputs that break what reads them; FUZZTIME=5m FUZZ=regexp of targets
	@sh scripts/fuzz.sh $(FUZZTIME) '$(FUZZ)'

sdk-test: build $(HMS)/node_modules/.package-lock.json ## drive the web SDK of 100ms against two nodes (needs npm)
	@sh scripts/ensure-redis.sh
	cd $(HMS) && npm test --silent

# npm writes this file last. `npm ci` takes the versions of the lock file and nothing else.
$(HMS)/node_modules/.package-lock.json: $(HMS)/package-lock.json | npm
	cd $(HMS) && npm ci
	touch $@

# With the same Go the same source gives the same binary, wherever it is: see `make reproducible`.
build: ## build bin/hearth, a static binary
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/hearth ./cmd/hearth

run: ## serve on 127.0.0.1:8080 in development mode, with the embedded Redis
	go run ./cmd/hearth serve

lint: $(GOLANGCI) ## run the linters (installs golangci-lint into bin/tools)
	$(GOLANGCI) run ./...

openapi-lint: $(REDOCLY) ## lint httpapi/openapi.yaml (needs npm; installs @redocly/cli into bin/tools)
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(REDOCLY)/node_modules/.bin/redocly lint hearth

fmt: $(GOLANGCI) ## format the code
	$(GOLANGCI) fmt ./...

bench: $(BENCHSTAT) ## compare the benchmarks of the hot paths with those saved, or with BASE=git-ref; BENCH=regexp BENCHTIME COUNT
	sh scripts/bench.sh '$(CURDIR)/$(BENCHSTAT)' '$(BENCH)' $(BENCHTIME) $(COUNT) $(BASE)

bench-save: ## keep what the last `make bench` measured, for the next one to be compared with
	cp bin/bench/new.txt bin/bench/old.txt

profile: build ## take profiles of a node under load, into bin/profile; LOAD='--scenario fanout' SECONDS=10
	@sh scripts/ensure-redis.sh
	sh scripts/profile.sh bin/hearth $(SECONDS) $(LOAD)

perf: ## measure growth, nodes and a cluster on real servers of its own, for minutes; PERF=regexp of tests
	@sh scripts/ensure-redis.sh
	HEARTH_TEST_REDIS=required go test -count=1 -timeout 2h -v -run '$(PERF)' ./internal/perf -args -long

compose-test: ## build the image and try docker-compose.yml end to end
	bash deploy/compose-test.sh

vuln: $(GOVULNCHECK) ## look for known vulnerabilities in what is called; VULNDB=file:///path for another database
	sh scripts/vuln.sh $(GOVULNCHECK) $(VULNDB)

vuln-db: ## make the database of `make vuln` from Go's module proxy, into bin/vulndb
	sh scripts/vuln-db.sh '$(CURDIR)/bin/vulndb'

sbom: build $(CYCLONEDX) ## write what bin/hearth is built of, as CycloneDX, into bin/hearth.cdx.json
	$(CYCLONEDX) bin -json -std -noserial -notimestamp -version '$(VERSION)' -output bin/hearth.cdx.json bin/hearth

reproducible: ## build twice, in two places, and compare
	sh scripts/reproducible.sh '$(VERSION)'

clean: ## remove what was built
	rm -rf bin $(HMS)/node_modules

# The race detector is C: without a compiler go test only says that cgo is off.
cc:
	@cc=$$(go env CC) && command -v $${cc%% *} >/dev/null || { \
		echo 'make test needs a C compiler for -race: apt-get install gcc, or xcode-select --install' >&2; exit 1; }

npm:
	@command -v npm >/dev/null || { echo 'this needs Node.js 22.12 or later (or 20.19) with npm: https://nodejs.org/en/download' >&2; exit 1; }

# It brings no other packages, so its version is all that has to be pinned.
$(REDOCLY): | npm
	npm install --prefix $@.new --no-save --no-audit --no-fund --ignore-scripts --loglevel error @redocly/cli@$(REDOCLY_VERSION)
	mv $@.new $@

$(BENCHSTAT):
	GOBIN='$(CURDIR)/$(TOOLS)' go install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION)
	mv $(TOOLS)/benchstat $@

$(GOVULNCHECK):
	GOBIN='$(CURDIR)/$(TOOLS)' go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	mv $(TOOLS)/govulncheck $@

$(CYCLONEDX):
	GOBIN='$(CURDIR)/$(TOOLS)' go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(CYCLONEDX_VERSION)
	mv $(TOOLS)/cyclonedx-gomod $@

# The version is in the file's name, so that another one is another file.
$(GOLANGCI):
	GOBIN='$(CURDIR)/$(TOOLS)' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@
