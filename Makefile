# Two commands matter: `make run` and `make test`.
.PHONY: docs run test chaos build web vet lint setup clean

GO ?= go
# Whole-suite limit of go test, per package.
TEST_TIMEOUT ?= 12m
# Of make chaos.
SEED ?= 1
DURATION ?= 10m
TOPOLOGY ?= standalone,sentinel,cluster
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Runs one node on the log in memory: no Valkey, no file, no key.
run: web
	$(GO) run ./cmd/api

# Installs what the tests need (once), then runs every test under the race detector, and before those that count allocations without it,
# as it allocates. The tests start the servers they use and stop them; the trap takes what a killed test binary may have left in a
# Docker engine.
test: setup
	@$(GO) test -run 'Allocates|CostsNothing' ./transports ./handlers
	@trap 'scripts/clean-containers' EXIT; PATH="$$PATH:/usr/sbin:/sbin" $(GO) test -race -timeout $(TEST_TIMEOUT) ./...

# The long run of integration/chaos, over each arrangement of Valkey for as long: make chaos DURATION=10m SEED=7 TOPOLOGY=sentinel
chaos: setup
	@PATH="$$PATH:/usr/sbin:/sbin" $(GO) test -count=1 -v -timeout 4h -run 'TestChaos$$' ./integration/chaos -chaos.duration $(DURATION) -chaos.seed $(SEED) -chaos.topology $(TOPOLOGY)

build: web
	$(GO) build -o bin/hubstream ./cmd/api

# The console's page, if npm is there and something has changed.
web:
	@scripts/web

# The page of the settings, which a test compares.
docs:
	$(GO) run ./cmd/api settings > docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md

vet:
	$(GO) vet ./...
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt needed: $$unformatted"; exit 1; fi

# The chosen checks are in staticcheck.conf. Developers have Windows, too: the program is built for it, which nothing else would notice.
lint: vet
	$(GO) run $(STATICCHECK) ./...
	GOOS=windows $(GO) build -o /dev/null ./cmd/api

setup:
	@scripts/setup

clean:
	rm -rf bin integration/clients/node_modules web/node_modules web/dist/app
