# Everything sets itself up: `make up` and `make test` need Python >= 3.11 and nothing else.

VENV   := .venv
PYTHON := $(VENV)/bin/python
# The first interpreter that is new enough.
FOUND  := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Two at a time, a file at a time; one test alone needs none of it: make test WORKERS= ARGS=PATH
# In their own order: by size, the file with the longest test would come last, alone.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

# As deploy/docker-compose.yml names them, whose containers `make test-compose` starts.
TEST_IMAGES    := postgres:17 rabbitmq:4-management
COMPOSE_IMAGES := $(TEST_IMAGES) python:3.13-slim caddy:2 axllent/mailpit

.PHONY: help install install-dev up test test-compose lint format bench lock images broker browser mail-server promtool release-snapshot licences sbom audit image image-check clean

help: ## Show this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Make .venv with the command line .venv/bin/oauthapps

$(VENV)/bin/python:
	@test -n "$(FOUND)" || { echo "oauthapps needs Python >= 3.11 with venv; install it first" >&2; exit 1; }
	$(FOUND) -m venv $(VENV)

$(VENV)/.installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

install-dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

up: install ## Run all three services here (ARGS="--amqp-url … --no-demo")
	@exec $(VENV)/bin/oauthapps up $(ARGS)

test: install-dev images broker browser mail-server promtool ## Run all tests on real parts
	$(PYTHON) -m pytest $(WORKERS) $(ARGS)

test-compose: install-dev ## Bring the containers up, use them, kill them (needs Docker)
	@tests/install-images --required $(COMPOSE_IMAGES)
	$(PYTHON) -m pytest tests/compose --timeout 600 $(ARGS)

lint: install-dev ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: install-dev ## Let ruff put the code in order
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: install-dev broker ## Measure; prints ratios
	$(PYTHON) -m bench $(ARGS)

# The tests take Postgres and RabbitMQ from containers where a Docker engine answers.
images:
	@tests/install-images $(TEST_IMAGES)

# Some tests stop and kill a RabbitMQ: the server of the Debian package.
broker:
	@tests/install-broker

# The tests want Chromium: the one of the Debian package, or the one that is named.
browser:
	@tests/install-browser

# The tests want a real mail server beside their own: the one of the Debian package.
mail-server:
	@tests/install-mail-server

# The tests let promtool judge alerts and dashboard: the one of the Debian package prometheus.
promtool:
	@tests/install-promtool

lock: ## Lock the dependencies again, with hashes
	@rm -rf $(VENV)-lock && $(FOUND) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	@for set in "requirements-image.txt" "requirements.txt --extra embedded" "requirements-dev.txt --extra embedded --extra dev"; do \
		set -- $$set; out=$$1; shift; \
		$(VENV)-lock/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --upgrade \
			--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$$@" -o $$out; \
	done
	@rm -rf $(VENV)-lock

licences: install-dev ## Write docs/licences.md; fails where a licence has to be judged
	@$(PYTHON) -m supply_chain.licences

sbom: install-dev ## The bill of materials, CycloneDX (ARGS="--image oauthapps --output FILE")
	@$(PYTHON) -m supply_chain.sbom $(ARGS)

audit: install-dev ## Known vulnerabilities of all that is locked; says so if nobody could be asked
	@$(PYTHON) -m supply_chain.audit $(ARGS)

image: ## The container image of the commit (ARGS="--tag NAME", and those of docker build)
	@$(FOUND) -m supply_chain.image $(ARGS)

image-check: ## Build the image twice from nothing, and compare all files
	@$(FOUND) -m supply_chain.image --check $(ARGS)

release-snapshot: install-dev ## Keep what this release leaves in a database
	$(PYTHON) -m tests.support.release

clean: ## Remove .venv and caches; var/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info
