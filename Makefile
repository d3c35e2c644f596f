# Two commands do everything on a fresh machine:
#   make demo   break the bundled system under load and measure how it heals (no Docker, no root)
#   make test   pass the tests; as root on Debian or Ubuntu it also installs the packages that real components need
# Both share .venv; a second run starts in seconds.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := nginx-light chromium openssl curl postgresql docker.io docker-compose busybox-static nftables iproute2 openssh-server redis-server
ARGS ?=

.PHONY: demo test lint bench bench-load bench-latency truth soak torture kernel redis questions packages peers generators clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	@$(BIN)/chaosrunner demo $(ARGS)

# Three sittings: what is pure, with all its branches covered by its own tests; all else that is quick; and, one after the
# other, whole experiments on the real thing, which measure, and scans of this host, which end what other tests hold.
PURE := tests/model tests/logic
PYTEST := $(BIN)/python -m pytest
# The quick rest mostly waits, so it takes two processes more than a small machine has cores; `tests/conftest.py` says
# which files go first, because by itself pytest would put those with few tests last, which are the longest.
QUICK := -m "not e2e and not alone" $(PURE:%=--ignore=%)
WHOLE := -m "e2e or alone" tests/e2e tests/truth tests/cli tests/world
# What failed beside three others, or while it measured, is played once more, alone, and the output says so: five thousand
# real processes a run meet every race of a busy machine. What fails twice fails, and so does what never ran.
AGAIN := echo "what failed is played once more, alone; it failed beside others, so look at why" >&2
ONCE_MORE := $(PYTEST) -v --last-failed --last-failed-no-failures none
# Python 3.11's first patch releases report branches of a `match` that nothing can take.
FULL := $(BIN)/python -c 'import sys; print(100 if sys.version_info >= (3, 11, 7) else 99)'

test: $(VENV)/.test packages peers
	@set -e; \
	$(PYTEST) -q -n 2 $(PURE) --cov --cov-fail-under=$$($(FULL)) --cov-report=term:skip-covered $(ARGS); \
	$(PYTEST) -q -n 4 --dist loadfile --no-loadscope-reorder $(QUICK) $(ARGS) || { $(AGAIN); $(ONCE_MORE) $(QUICK) $(ARGS); }; \
	$(PYTEST) -v $(WHOLE) --durations=0 --durations-min=20 $(ARGS) || { $(AGAIN); $(ONCE_MORE) $(WHOLE) $(ARGS); }

lint: $(VENV)/.test
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

# The fault proxy beside Toxiproxy and HAProxy: one table of ratios, in three minutes on a machine that does nothing else.
# `make bench ARGS=--quick` needs half a minute.
bench: PACKAGES := nginx-light wrk haproxy
bench: $(VENV)/.test packages peers
	@$(BIN)/python tests/benchmarks/proxy.py $(ARGS)

# The load driver beside wrk, vegeta, k6, Locust and an aiohttp loop, in ten minutes; `ARGS=--quick` needs two.
bench-load: PACKAGES := nginx-light wrk postgresql postgresql-contrib
bench-load: $(VENV)/.test packages generators
	@$(BIN)/python tests/benchmarks/load.py $(ARGS)

# How long each fault takes to inject and to undo, beside the docker CLI, iptables, psql, redis-cli and the like, as the
# sections of docs/reference/fault-latency.md; `ARGS="docker --times 20"` is one family, and not so often.
bench-latency: PACKAGES := docker.io busybox-static nftables iproute2 iptables postgresql redis-server stress-ng openssh-server openssh-client procps
bench-latency: $(VENV)/.test packages peers
	@$(BIN)/python tests/benchmarks/latency.py $(ARGS)

# Verdicts laid beside the truth on a virtual clock, 1,000 runs a cell, which takes hours: docs/reference/truth.md. `ARGS="--runs 60"`
# to look at, `ARGS="--out docs/reference/truth-virtual.md"` to write it down, `ARGS=--live` for real processes in real time (20 minutes).
truth: $(VENV)/.test
	@$(BIN)/python tests/truth/truth.py $(ARGS)

# An hour of load on the real thing, watched for what grows; `ARGS="--minutes 3"` to look at.
soak: PACKAGES := nginx-light
soak: $(VENV)/.test packages
	@$(BIN)/python tests/benchmarks/soak.py $(ARGS)

# Runners that die at every moment of every fault: killed, stopped past their deadline and woken, and with their watchdog;
# and 1,000 more at random ones. It takes half an hour. `ARGS="-k proxy"` to look at one family.
torture: $(VENV)/.test packages peers
	@CHAOSRUNNER_TORTURE=20 CHAOSRUNNER_KILLS=1000 $(PYTEST) -q -n 4 --timeout 3600 tests/world/test_kill.py tests/contract \
	  -k "(test_kill or test_11) and not noticed" $(ARGS)

# What needs a kernel with netem (`network.latency`, `reorder`, `duplicate`), in Debian's own, which qemu boots over this
# file system. Every instruction is emulated, so it wants a quiet machine; `ARGS="-k netem-latency"` to look at one of them.
# Its exit code is a proof: with CI=true nothing may be skipped, and pytest fails if it finds nothing of these names.
kernel: PACKAGES := qemu-system-x86 busybox-static kmod nftables iproute2
kernel: $(VENV)/.test packages
	@CI=true PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python tests/kernel/boot.py $(PEERS)/vm $(abspath $(BIN))/python -m pytest \
	  -v -s --color no -p pytest_asyncio.plugin -p pytest_timeout -p no:cacheprovider --timeout 1200 \
	  tests/contract/test_contract_network.py tests/fault_injectors/test_network_netem.py \
	  -k "netem- or TestNetemTraffic" $(ARGS)

# The Redis faults, also through TLS, on the Redis and the Valkey of a newer Debian, downloaded and not installed.
# `ARGS=sid/valkey-server` for another, `ARGS="-k pause"` to look at one of the faults.
redis: PACKAGES := debian-archive-keyring
redis: $(VENV)/.test packages
	@$(BIN)/python tests/versions/redis_versions.py $(PEERS)/redis $(ARGS)

# Every shipped question on both demos, also those that `make test` leaves out.
questions: $(VENV)/.test packages
	@CHAOSRUNNER_EVERY_QUESTION=1 $(PYTEST) -v -m e2e tests/e2e/test_shipped_experiments.py \
	  tests/e2e/test_demo_containers.py $(ARGS)

# uv where it is installed, else pip: both read the same pins.
define install
	@set -e; \
	if command -v uv >/dev/null 2>&1; then \
	  test -x $(BIN)/python || uv venv --quiet --python '>=3.11' $(VENV); \
	  uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[$(1)]'; \
	else \
	  if ! test -x $(BIN)/python; then \
	    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	      if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	    done; \
	    test -n "$$python" || { echo "chaosrunner needs Python 3.11 or newer; none was found on PATH" >&2; exit 2; }; \
	    $$python -m venv $(VENV) || { rm -rf $(VENV); echo "no venv could be made: on Debian and Ubuntu install python3-venv" >&2; exit 2; }; \
	  fi; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(1)]'; \
	fi
endef

$(VENV)/.demo: pyproject.toml constraints.txt
	@echo "setting up $(VENV) (once)" >&2
	$(call install,demo)
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	@echo "setting up $(VENV) with what the tests need (once)" >&2
	$(call install,dev)
	@touch $@ $(VENV)/.demo

# What only a system package brings. Without root the tests that want it are skipped, and say so.
packages:
	@missing=; for package in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if test -z "$$missing"; then :; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null 2>&1; then \
	  echo "installing$$missing" >&2; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	else echo "not installed:$$missing (needs root on Debian or Ubuntu); the tests that want them are skipped" >&2; fi

# The server whose API ours has, at the version whose API it is, for the tests that put the same calls to both.
# Without Go, or where it cannot be built, those tests are skipped and say why; under CI=true with Go they fail.
PEERS := $(VENV)/peers
TOXIPROXY := 2.12.0
TOXIPROXY_MODULE := github.com/Shopify/toxiproxy/v2

peers:
	@if test -x $(PEERS)/toxiproxy-server && test -x $(PEERS)/toxiproxy-cli; then :; \
	elif command -v go >/dev/null 2>&1; then \
	  echo "building Toxiproxy $(TOXIPROXY) into $(PEERS) (once)" >&2; \
	  GOBIN=$(abspath $(PEERS)/build) go install -ldflags "-X $(TOXIPROXY_MODULE).Version=$(TOXIPROXY)" \
	    $(TOXIPROXY_MODULE)/cmd/server@v$(TOXIPROXY) $(TOXIPROXY_MODULE)/cmd/cli@v$(TOXIPROXY) \
	  && mv $(PEERS)/build/server $(PEERS)/toxiproxy-server && mv $(PEERS)/build/cli $(PEERS)/toxiproxy-cli \
	  && rmdir $(PEERS)/build \
	  || echo "Toxiproxy could not be built; the tests that want it are skipped" >&2; \
	else echo "no Go on PATH: the tests that compare with the real Toxiproxy are skipped" >&2; fi

# The load generators that ours is compared with. Those in Python have a venv of their own: what they need we do not.
VEGETA := 12.13.0
K6 := 1.8.1
LOCUST := 2.47.0
PICOWS := 2.3.1

generators:
	@mkdir -p $(PEERS); \
	if ! command -v go >/dev/null 2>&1; then echo "no Go on PATH: vegeta and k6 are not compared with" >&2; \
	else for module in vegeta=github.com/tsenart/vegeta/v12@v$(VEGETA) k6=go.k6.io/k6@v$(K6); do \
	  name=$${module%%=*}; test -x $(PEERS)/$$name && continue; \
	  echo "building $$name into $(PEERS) (once)" >&2; \
	  GOBIN=$(abspath $(PEERS)) go install -ldflags "-X main.Version=$(VEGETA)" $${module#*=} || echo "$$name could not be built; it is not compared with" >&2; \
	done; fi; \
	test -x $(PEERS)/locust || { \
	  echo "installing Locust $(LOCUST) and picows $(PICOWS) into $(PEERS) (once)" >&2; \
	  $(BIN)/python -m venv $(PEERS)/python \
	  && $(PEERS)/python/bin/python -m pip install --quiet --disable-pip-version-check \
	    locust==$(LOCUST) picows==$(PICOWS) uvloop \
	  && ln -sf python/bin/locust $(PEERS)/locust \
	  || echo "they could not be installed; they are not compared with" >&2; }

clean:
	rm -rf $(VENV) build *.egg-info
