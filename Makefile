# Hopbed's targets; `make` alone lists them. Each does what it needs first, on a bare Debian or Ubuntu.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

RUNTIME ?= auto# auto, namespaces or docker
RELEASE ?= bookworm# the Debian release of the node image: bookworm or trixie
FRESH ?=# FRESH=1: build the image anew, with Debian's packages of today
UPGRADE ?=# UPGRADE=1: lock the newest versions instead of keeping those that still fit
PYTEST ?=# more arguments for pytest
WORKERS ?= 3# tests that make test runs side by side; those that measure time run alone
JOBS ?= 8# testbeds at a time that make abnormality-table brings up
ARGS ?=# more arguments for a command of reliability, such as --help, or for the pytest of test-kernel

VENV := .venv
READY := $(VENV)/.ready
PYTHON := $(VENV)/bin/python
HOPBED := setup/with-docker.sh $(VENV)/bin/hopbed
IMAGE := setup/with-docker.sh $(PYTHON) -m orchestrator.image --release $(RELEASE)

# A story of orchestrator/scenarios/stories.py has a target of its own: demo-NAME.
.PHONY: demo demo-hop demo-rekey demo-negotiation demo-abnormality
demo: setup image-for-$(RUNTIME) ## every story, measured; ends with verdicts and one report [RUNTIME=docker]
	@$(HOPBED) demo --runtime $(RUNTIME) --out evidence/demo-$$(date +%Y%m%d-%H%M%S)
demo-hop: ## curl and live streams through an address's hops, beside a plain socket that dies
demo-rekey: ## two strongSwan peers rekey under traffic
demo-negotiation: ## an IKEv1 rekey whose third message is lost: strongSwan beside the early responder
demo-abnormality: ## a negotiation that cannot succeed: stock, and both sides silent for a time
demo-hop demo-rekey demo-negotiation demo-abnormality: demo-%: setup image-for-$(RUNTIME)
	@$(HOPBED) demo $* --runtime $(RUNTIME) --out evidence/demo-$*-$$(date +%Y%m%d-%H%M%S)

.PHONY: abnormality-table
abnormality-table: setup image-for-$(RUNTIME) ## every abnormality, off beside on, into docs/; half an hour [JOBS=8] [RUNTIME=docker]
	@setup/with-docker.sh $(PYTHON) -m orchestrator.abnormality_table --jobs $(JOBS) --runtime $(RUNTIME)

.PHONY: test
test: setup test-packages lint image-for-auto ## lint, strict type check and every test, on both runtimes [PYTEST=...]
	setup/with-docker.sh $(PYTHON) -m pytest -n $(WORKERS) --dist loadfile $(PYTEST)

.PHONY: test-kernel
test-kernel: setup ## what needs kernel ESP, netem or nft queue, on Debian's stock kernel in a virtual machine [ARGS=tests/...]
	@setup/packages.sh qemu-system-x86 busybox-static kmod
	@setpriv --pdeathsig KILL setup/test-kernel.sh $(ARGS)

.PHONY: fuzz
fuzz: setup ## 1,000,000 inputs, seeded with real messages, for the IKEv1 endpoint [ARGS=--seed 2]
	$(PYTHON) tests/unit/ike_fuzz.py $(ARGS)

.PHONY: up
up: setup image-for-$(RUNTIME) ## bring up the testbed of compose.yaml and leave it running [RUNTIME=docker]
	$(HOPBED) up --runtime $(RUNTIME)

.PHONY: down
down: setup ## take down what `make up` left running
	$(HOPBED) down

.PHONY: image
image: setup ## build the node image unless it is current [RELEASE=trixie] [FRESH=1]
	@$(IMAGE) $(if $(FRESH),--fresh)

.PHONY: image-for-auto image-for-docker image-for-namespaces
image-for-auto: setup
	@$(IMAGE) --if-engine
image-for-docker: image
image-for-namespaces:

.PHONY: engine
engine: ## install and start Docker Engine where none answers
	@setup/engine.sh

.PHONY: setup
setup: packages $(READY) ## install what a run needs: Debian packages and the locked virtual environment

.PHONY: packages
packages:
	@setup/packages.sh

# What the tests check captures with, look at the report with, and let live through hops; a demo does without.
.PHONY: test-packages
test-packages:
	@setup/packages.sh tshark chromium
	@setup/ssh-server.sh

$(READY): requirements.lock pyproject.toml setup/venv.sh | packages
	@setup/venv.sh
	@touch $@

.PHONY: lint
lint: setup ## ruff, mypy --strict, and shellcheck where it is installed
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy setup/dockerd.py setup/audit.py
	@if command -v shellcheck >/dev/null; then \
		set -x; shellcheck setup/*.sh images/*.sh images/hopbed-node .ci/run; \
	else echo "shellcheck is not installed: the shell scripts were not checked"; fi

.PHONY: audit
audit: setup ## known vulnerabilities of what the locks pin, as PyPI tells them
	@$(PYTHON) setup/audit.py

# Options and index addresses stay out of the locks: they are this machine's, not the project's.
PIP_COMPILE := $(PYTHON) -m piptools compile --quiet --no-config --allow-unsafe --generate-hashes --strip-extras \
	--no-annotate --no-header --no-emit-options --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	$(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: setup ## pin requirements.lock and images/requirements.lock anew [UPGRADE=1]
	$(PIP_COMPILE) --extra dev --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) --constraint requirements.lock --output-file images/requirements.lock images/requirements.in

.PHONY: interoperability
interoperability: setup image-for-auto ## the endpoint against strongSwan 5.9 and 6.0; writes the table in docs/
	HOPBED_WRITE_TABLE=1 setup/with-docker.sh $(PYTHON) -m pytest tests/integration/test_interoperability.py

.PHONY: benchmark-bring-up
benchmark-bring-up: setup image-for-auto ## time of bring-up, both runtimes beside Mininet
	@setup/packages.sh mininet bridge-utils net-tools psmisc
	@setup/with-docker.sh $(PYTHON) benchmarks/bring_up.py

.PHONY: benchmark-hop-throughput
benchmark-hop-throughput: setup image-for-$(RUNTIME) ## TCP throughput with hopping off, idle and active [RUNTIME=docker]
	@setup/with-docker.sh $(PYTHON) benchmarks/hop_throughput.py --runtime $(RUNTIME)

.PHONY: benchmark-capture-reading
benchmark-capture-reading: setup ## packets per second of our reader beside tshark's and scapy's
	@$(PYTHON) benchmarks/capture_reading.py

RELIABILITY := setup/with-docker.sh env PYTHONPATH=tests/integration:. $(PYTHON)

.PHONY: kill-matrix
kill-matrix: setup test-packages image-for-auto ## kill each part of a run at each phase and look at what is left [ARGS=...]
	@$(RELIABILITY) tests/reliability/kill_matrix.py $(ARGS)

.PHONY: isolation
isolation: setup test-packages image-for-auto ## eight runs at once, twenty times, beside somebody else's things [ARGS=...]
	@$(RELIABILITY) tests/reliability/isolation.py $(ARGS)

.PHONY: suite-under-load
suite-under-load: setup test-packages image-for-auto ## the integration suite ten times beside two busy processors [ARGS=...]
	@$(RELIABILITY) tests/reliability/under_load.py $(ARGS)

.PHONY: soak-cycles
soak-cycles: setup image-for-auto ## bring up and take down 500 times, and see that nothing grows [ARGS=...]
	@$(RELIABILITY) tests/reliability/cycles.py $(ARGS)

.PHONY: soak
soak: setup image-for-auto ## half an hour of hops, rekeys, failures and faults at once; nothing may grow [ARGS=...]
	@$(RELIABILITY) tests/reliability/soak.py $(or $(ARGS),--out evidence/soak-$$(date +%Y%m%d-%H%M%S))

.PHONY: benchmark-esp
benchmark-esp: setup ## what our ESP in user space carries, beside strongSwan's kernel-libipsec
	@setup/packages.sh iperf3
	@$(PYTHON) benchmarks/esp_throughput.py

.PHONY: clean
clean: ## remove what make made here: the virtual environment, wheels and caches (images and evidence stay)
	rm -rf $(VENV) images/build build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-26s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
