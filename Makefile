# Everything a developer runs. `make` is what has to pass before a commit; `make help` lists the rest.

GO := go
TOOL := $(GO) tool -modfile=.ci/tools/go.mod
# What the machine offers to tests that need more than Go; see test-all.
export VMBUILD_TEST
comma := ,
FUZZTIME ?= 10s

.PHONY: all build test test-all boot bench yarns hooks lint vet vulnerabilities cover fuzz clean help

all: build test lint ## Build, test and lint: what runs on each change

build: ## Build the static program ./vmbuild
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags=-s -o vmbuild ./cmd/vmbuild

# Tests that build and boot take a processor each: two packages at a time then, and nothing from the cache.
test: vet ## Run the tests that need only Go (more with VMBUILD_TEST=net,build,boot)
	$(GO) test -timeout=60m $(if $(VMBUILD_TEST),-count=1 -p=2) ./...

test-all: ## Run all tests: a Debian mirror, namespaces, judging programs and QEMU are needed
	$(MAKE) test VMBUILD_TEST=net,build,boot

boot: ## Start every image there is a test of (hours), and keep what their consoles print in consoles/
	VMBUILD_TEST=net,build,boot,matrix VMBUILD_CONSOLES=$(or $(VMBUILD_CONSOLES),$(CURDIR)/consoles) \
		$(GO) test -timeout=6h -count=1 -v -run='^Test(First)?Boot$$' ./cmd/vmbuild

bench: build ## Compare with other builders of Debian systems (hours; BENCH="--quick --rows=^tree" less), into bench/
	$(GO) run ./cmd/bench $(BENCH)

yarns: ## Run the scenarios of yarns/: plans, and with TESTS=build real builds too (packages from MIRROR=URL)
	VMBUILD_TEST=$(if $(filter build,$(TESTS)),net$(comma)build) MIRROR=$(MIRROR) \
		$(GO) test -timeout=60m -count=1 -run='^TestScenarios$$' $(if $(TESTS),-v) ./yarns

hooks: ## Have git try what is staged before each commit (.githooks/pre-commit)
	git config core.hooksPath .githooks

vet: ## Check the format and what go vet knows
	@unformatted=$$(gofmt -l .); \
		if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...

lint: vet vulnerabilities ## Run vet, staticcheck and govulncheck (downloads them, pinned in .ci/tools)
	$(TOOL) staticcheck ./...

# govulncheck ends with 3 when it found something. Without its database it cannot tell: that is said, and no failure.
vulnerabilities: ## Look for known vulnerabilities in what is called
	@report=$$($(TOOL) govulncheck ./... 2>&1); status=$$?; \
		case $$status:$$report in \
		0:*) echo "govulncheck: no known vulnerability is called" ;; \
		1:*"fetching vulnerabilities"*) echo "govulncheck: its database is out of reach; nothing was checked" ;; \
		*) echo "$$report"; exit $$status ;; \
		esac

cover: ## Write coverage.out and say how much the tests cover
	$(GO) test -coverpkg=./... -coverprofile=coverage.out ./...
	$(GO) tool cover -func=coverage.out | tail -n 1

fuzz: ## Run each fuzz target for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run='^$$' -fuzz="^$$target$$" -fuzztime=$(FUZZTIME) $$package; \
		done; \
	done

clean: ## Remove what these targets have made
	rm -rf vmbuild coverage.out consoles bench

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
