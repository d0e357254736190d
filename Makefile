# Everything that is missing is made or installed by the target that needs it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-zarr soak check bench docs pictures fmt man venv zarr2-env tools corpora fuzz lock clean

BIN := .venv/bin
VENV := .venv/.stamp
ZARR2_ENV := .tools/env-zarr2/.stamp
ECOSYSTEM_ENV := .tools/env-ecosystem/.stamp
RATARMOUNT_ENV := .tools/env-ratarmount/.stamp
DOCS_ENV := .tools/env-docs/.stamp

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV) tools ## mount three archives from a local S3 server, read them, clean up (KEEP=1 stays)
	@scripts/bootstrap-system.sh fusermount3:fuse3
	@$(BIN)/python scripts/demo.py $(if $(filter-out 0,$(KEEP)),--keep)

test: $(VENV) tools corpora ## all tests, with a real MinIO where Go can build one (ARGS= for pytest)
	@scripts/bootstrap-system.sh fusermount3:fuse3 systemd-analyze:systemd rsync:rsync getfattr:attr unzip:unzip zip:zip 7z:p7zip-full openssl:openssl zsh:zsh fish:fish chromium:chromium
	@$(BIN)/pytest -n 3 --dist loadgroup -m "not environment" $(ARGS)

test-zarr: $(VENV) $(ZARR2_ENV) $(ECOSYSTEM_ENV) tools ## every Zarr door, into docs/compatibility.md (ARGS= for pytest)
	@scripts/bootstrap-system.sh fusermount3:fuse3 zip:zip 7z:p7zip-full redis-server:redis-server \
		gdalinfo:gdal-bin
	@scripts/tools-ferretdb.sh
	@$(if $(ARGS),,rm -rf .tools/compatibility)
	@status=0; $(BIN)/pytest --compatibility tests/zarr $(ARGS) || status=$$?; \
		$(BIN)/python scripts/compatibility.py || status=$$?; exit $$status

soak: $(VENV) tools ## ten minutes of faults at random, then versions and kill -9 (SOAK_SECONDS= each)
	@scripts/bootstrap-system.sh fusermount3:fuse3
	@S3ZIPFS_SOAK_SECONDS=$(or $(SOAK_SECONDS),600) $(BIN)/pytest tests/faults/test_soak.py $(ARGS)
	@S3ZIPFS_SOAK_SECONDS=$(or $(SOAK_SECONDS),60) $(BIN)/pytest tests/semantics/test_overwriting.py tests/semantics/test_life.py tests/model $(ARGS)

check: $(VENV) ## ruff, mypy, import contracts, dependencies, shell
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/shellcheck .ci/run scripts/*.sh examples/*.sh

bench: $(VENV) $(RATARMOUNT_ENV) tools ## the figures beside the peers', into docs/benchmarks (ROW= for some of them)
	@scripts/bootstrap-system.sh fusermount3:fuse3
	@scripts/tools-peers.sh
	@PYTHONPATH=scripts $(BIN)/python benchmarks $(ROW)

docs: $(DOCS_ENV) ## the documentation as a site, into site/; it needs no network to be read
	@NO_MKDOCS_2_WARNING=1 .tools/env-docs/bin/mkdocs build --strict
	@echo "docs: open site/index.html"

pictures: $(VENV) tools ## the pictures, from real runs, and the README's table of figures
	@scripts/bootstrap-system.sh fusermount3:fuse3 chromium:chromium
	@$(BIN)/python scripts/pictures.py
	@$(BIN)/python scripts/status_picture.py
	@PYTHONPATH=scripts $(BIN)/python benchmarks/readme.py

fmt: $(VENV) ## format, and mend what ruff can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

man: $(VENV) ## man/* and docs/reference, from the commands and the settings
	@$(BIN)/python scripts/manual.py
	@$(BIN)/python scripts/reference.py

venv: $(VENV) ## .venv with all that development needs

$(VENV): requirements/dev.txt pyproject.toml scripts/bootstrap-venv.sh
	@scripts/bootstrap-venv.sh .venv requirements/dev.txt .
	@touch $@

zarr2-env: $(ZARR2_ENV) ## .tools/env-zarr2: zarr 2.18, for the tests

$(ZARR2_ENV): requirements/zarr2.txt pyproject.toml scripts/bootstrap-venv.sh
	@scripts/bootstrap-venv.sh .tools/env-zarr2 requirements/zarr2.txt .
	@touch $@

$(ECOSYSTEM_ENV): requirements/ecosystem.txt pyproject.toml scripts/bootstrap-venv.sh
	@scripts/bootstrap-venv.sh .tools/env-ecosystem requirements/ecosystem.txt .
	@touch $@

$(RATARMOUNT_ENV): requirements/ratarmount.txt scripts/bootstrap-venv.sh
	@scripts/bootstrap-venv.sh .tools/env-ratarmount requirements/ratarmount.txt
	@touch $@

$(DOCS_ENV): requirements/docs.txt scripts/bootstrap-venv.sh
	@scripts/bootstrap-venv.sh .tools/env-docs requirements/docs.txt
	@touch $@

tools: ## .tools/bin: minio and toxiproxy-server, built by Go where there is one
	@scripts/tools-minio.sh
	@scripts/tools-toxiproxy.sh

corpora: $(VENV) ## .tools/corpora: the zips that Go, Rust, Apache and Python test themselves with
	@$(BIN)/python scripts/tools_corpora.py

fuzz: $(VENV) corpora ## mutated zips, FUZZ_SECONDS of them (600); what is found stays in .tools/fuzz
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(BIN)/pytest --timeout=0 -s tests/corpus/test_fuzz.py

lock: ## requirements/*.txt anew, from pyproject.toml
	@scripts/tools-lock.sh

clean: ## remove all that was made here, .tools excepted
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests scripts -name __pycache__ -prune -exec rm -rf {} +
