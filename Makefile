# The commands of this tree. `make setup` makes .venv; everything else sets itself up the same way.
#
#   make test                 all checks: format, lint, types, import floors, tests
#   make demo                 three daemons on this machine: found, paired, tables bound, cut, healed
#   make run                  one daemon in the foreground with the default configuration
#   make bench                the speed table, beside the floor measured in the same run
#   make simulate RUNS=100000 more random histories than `make test` plays, on all cores
#   make fuzz RUNS=100000     more hostile input than `make test` sends
#   make soak                 a quarter of a year of four machines in ten minutes; HOURS=24: a real day of two
#   make recipes              real programs on two machines: installs them in $(RECIPES) and runs tests/recipes
#   make generated            write again what is made from declarations

PYTHON ?= python3
RUNS ?= 2000
VENV := .venv
BIN := $(VENV)/bin
RECIPES ?= .recipes
HOURS ?= 0
STAMP := $(VENV)/.made-from-pyproject

.DEFAULT_GOAL := test
.PHONY: setup test demo run bench simulate fuzz soak recipes generated needs clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "peerd needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	    { echo "this Python cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Every check runs, whatever an earlier one found; the tests come last, so that their closing line is the last one.
test: setup needs
	@failed=""; \
	for check in "ruff format --check ." "ruff check ." mypy "lint-imports --no-cache"; do \
	    echo "== $$check"; \
	    $(BIN)/$$check || failed="$$failed, $$check"; \
	done; \
	[ -z "$$failed" ] || echo "== failed already: $${failed#, }"; \
	echo "== pytest"; \
	$(BIN)/python -m pytest -n 3 && [ -z "$$failed" ]

# Some tests want machines of their own, made of namespaces, and file systems such as sticks have. Where the tools are
# missing, CI installs them and everybody else is told what will be skipped.
needs:
	@missing=""; \
	command -v ip >/dev/null && command -v tc >/dev/null || missing="$$missing iproute2"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	command -v unshare >/dev/null || missing="$$missing util-linux"; \
	command -v mkfs.vfat >/dev/null || missing="$$missing dosfstools"; \
	command -v mkfs.exfat >/dev/null || missing="$$missing exfatprogs"; \
	grep -qw exfat /proc/filesystems || modprobe -qn exfat 2>/dev/null || command -v mount.exfat-fuse >/dev/null || \
	    missing="$$missing exfat-fuse"; \
	if [ -n "$$missing" ] && [ "$$CI" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing; \
	    } >/dev/null && missing=""; \
	fi; \
	[ -z "$$missing" ] || echo "not installed:$$missing. Tests that need them are skipped and say so."; \
	[ "$$(id -u)" = 0 ] || echo "not root: tests in network namespaces and under systemd are skipped and say so."

demo: setup
	@$(BIN)/python -m tests.demo

run: setup
	@$(BIN)/python -m peerd

bench: setup
	@$(BIN)/python -m tests.bench

simulate: setup
	@$(BIN)/python -m tests.simulation --runs $(RUNS)
	@$(BIN)/python -m tests.network_simulation --runs $(RUNS) --jobs $$(nproc)
	@$(BIN)/python -m tests.relay_simulation --runs $$(( $(RUNS) / 4 + 1 ))
	@$(BIN)/python -m tests.tables.two_copies --runs $$(( $(RUNS) / 10 + 1 ))

fuzz: setup
	@seed=$$($(BIN)/python -c 'import random; print(random.randrange(1 << 32))'); echo "seed $$seed"; \
	PEERD_RUNS=$(RUNS) PEERD_SEED=$$seed $(BIN)/python -m pytest -k "fuzz or hostile" --hypothesis-seed=$$seed && \
	$(BIN)/python -m tests.hostile --frames $(RUNS) --seed $$seed

soak: setup
	@$(BIN)/python -m tests.soak --hours $(HOURS)

# Each program in an environment of its own, at the versions the pages were written with. newsboat comes from the system.
recipes: setup
	@for program in buku==5.1 beets==2.14.1 django==5.2.19; do \
	    folder="$(RECIPES)/$${program%%=*}"; \
	    test -x "$$folder/bin/python" || $(PYTHON) -m venv "$$folder" || exit 1; \
	    "$$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$$program" || exit 1; \
	done
	@command -v newsboat >/dev/null || echo "not installed: newsboat. Its tests are skipped and say so."
	@PEERD_RECIPES="$$(realpath $(RECIPES))" $(BIN)/python -m pytest tests/recipes

generated: setup
	@$(BIN)/python -m peerd.config.render .
	@$(BIN)/python -m peerd.cli.reference docs
	@described=$$($(BIN)/python -m peerd.control.openapi) && printf '%s\n' "$$described" > peerd/control/openapi.json

clean:
	rm -rf $(VENV) $(RECIPES) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
