# Two commands: `make demo` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
SEEDS ?= 0
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder # by folder: long files (e2e) first
# An oracle of the tests. Its build wants torch, and in a build environment of its own would download a second one.
SAM2 = --no-build-isolation "sam2>=1.1"

.PHONY: help demo demo-seeds demo-methods test test-slow ratios lint types docs wheel .venv clean

help:
	@echo "make demo        the main job on generated scenes: under three minutes on two cores, after the set-up"
	@echo "make demo-seeds  the same for three seeds: under nine minutes"
	@echo "make demo-methods  six recipes (SimCLR, MoCo, DINO; image and region views), three seeds: about half an hour"
	@echo "make test        the tests: under ten minutes on two cores, after the set-up"
	@echo "make test-slow   those that take 5 to 60 s each: killed processes, several ranks, compilers"
	@echo "make lint types  style and types"
	@echo "make docs        this documentation as a site in site/: seconds"
	@echo "make wheel       dist/samclr-VERSION-py3-none-any.whl, and the demo run from it"
	@echo "make ratios      speed against lightly and torchvision, as ratios with those stored"
	@echo "The set-up (.venv) takes about 7 GB of disk, from the package registry, once: two to five minutes."

demo: .venv
	@echo "== demo: image views against region views on generated scenes, with controls, seeds $(SEEDS)"
	$(BIN)/samclr demo --out runs/demo --seeds $(SEEDS)

demo-seeds: .venv
	@$(MAKE) --no-print-directory demo SEEDS="0 1 2"

demo-methods: .venv
	@echo "== demo: six recipes, three seeds; about half an hour"
	$(BIN)/samclr demo --out runs/demo-methods --seeds 0 1 2 --recipes simclr samclr moco sammoco dino samdino

test: .venv
	@echo "== tests: under ten minutes on two cores"
	$(PYTEST) -m "not slow"

test-slow: .venv
	@echo "== the slow tests: processes that are killed, several ranks, compilers; about a quarter of an hour"
	$(PYTEST) -m slow

ratios: .venv
	@echo "== speed against the peers, as ratios: half a minute"
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/check_ratios.py

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv
	$(BIN)/mypy

docs: .venv
	@echo "== docs: site/index.html; every warning is an error"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The check's environment holds the wheel alone and sees the dependencies of .venv, but not the sources.
wheel: .venv
	rm -rf dist build/wheel build/demo
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python -m venv --without-pip build/wheel
	$(BIN)/python -m pip --python build/wheel install --quiet --disable-pip-version-check --no-deps dist/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(build/wheel/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
	cd build && wheel/bin/samclr demo --out demo

# The marker is written last, so an interrupted set-up is done again.
.venv: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "samclr needs Python 3.11 to 3.14; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "== set-up: an environment in .venv, about 7 GB from the package registry; two to five minutes, once"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs]"
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(SAM2)
	@touch .venv/ready

clean:
	rm -rf .venv build dist runs site
