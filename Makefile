# Two commands: `make demo` and `make test`. Both create .venv and install what they need.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

# make's own --parallel without a number starts everything at once, which a small board has no memory for.
JOBS := $(shell nproc 2>/dev/null || echo 2)

# Of pytest: a process a core, and each takes about 1.5 GB.
WORKERS := $(shell awk -v n=$(JOBS) '/MemTotal/ { most = int($$2 / 1500000) } \
  END { n = n < most ? n : most; n = n < 8 ? n : 8; print (n < 1 ? 1 : n) }' /proc/meminfo)

# Several trees compile the same files: the editable install, the tests', the wheel's, the stand-ins'. ccache, of the packages
# below or the system's, compiles each once. `=`, since it is only there once the packages are.
# Under one name: scikit-build-core takes g++ where nothing is said, CMake c++, and ccache tells them apart.
ifeq ($(origin CXX),default)
CXX := c++
endif
export CXX
export CCACHE_DIR ?= $(CURDIR)/build/ccache
ifeq ($(origin CMAKE_CXX_COMPILER_LAUNCHER),undefined)
export CMAKE_CXX_COMPILER_LAUNCHER = $(shell command -v "$(CURDIR)/$(VENV)/bin/ccache" || command -v ccache)
endif

# An editable install maps modules by name, so a new Python file needs it again too; where nothing native changed it takes seconds.
SOURCES := CMakeLists.txt pyproject.toml $(shell find csrc cmake python export -type f -not -name "*.pyc" 2>/dev/null)

.PHONY: help demo test test-cpp test-python test-sanitizers fuzz soak check-all verify-families lint check-tools bench gpu-check clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/.installed  ## export, build and run the reference NaViT on real photographs
	$(PY) examples/demo.py

test: test-cpp test-python  ## every test, C++ and Python

test-cpp: $(VENV)/.installed
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --preset release -DPython_EXECUTABLE="$(CURDIR)/$(PY)"
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --build --preset release --parallel $(JOBS)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" ctest --preset release --parallel $(JOBS)

test-sanitizers: $(VENV)/.installed  ## the C++ tests under the address, undefined-behaviour and thread sanitizers
	for preset in asan tsan; do \
	  PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --preset $$preset -DPython_EXECUTABLE="$(CURDIR)/$(PY)"; \
	  PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --build --preset $$preset --parallel $(JOBS); \
	  PATH="$(CURDIR)/$(VENV)/bin:$$PATH" ctest --preset $$preset; \
	done
	$(PY) tests/simulator/sanitized.py

FUZZ_COUNT := 20000
FUZZ_FILES := 100000
fuzz: $(VENV)/.installed  ## random images and mutated files, under the sanitizers (FUZZ_COUNT=, FUZZ_FILES=)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --preset asan -DPython_EXECUTABLE="$(CURDIR)/$(PY)"
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --build --preset asan --parallel $(JOBS) --target pixels_fuzz_test
	NAVIT_EDGE_FUZZ_COUNT=$(FUZZ_COUNT) UBSAN_OPTIONS=halt_on_error=1 build/asan/csrc/tests/pixels_fuzz_test
	$(PY) tests/fuzz/fuzz_preprocess.py -runs=$(FUZZ_COUNT)
	$(PY) tests/fuzz/fuzz_files.py --count $(FUZZ_FILES)

SOAK_SECONDS := 300
soak: $(VENV)/.installed  ## minutes of ever new shapes through one session: nothing may grow (SOAK_SECONDS=)
	$(PY) tests/soak/soak.py --seconds $(SOAK_SECONDS)

check-all: test test-sanitizers fuzz verify-families soak  ## everything above and below that tests; hours

test-python: $(VENV)/.installed
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

verify-families: $(VENV)/.installed  ## every case of every family of checkpoints as graphs and as engines (minutes)
	$(PY) -m pytest tests/families tests/families/verify_*.py

lint: $(VENV)/.installed  ## ruff, mypy --strict, clang-format, codespell
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" pre-commit run --all-files --show-diff-on-failure

bench: $(VENV)/.installed  ## throughput and cold start against PyTorch, ONNX Runtime and OpenVINO; writes README.md
	$(PY) benchmarks/end_to_end.py
	$(PY) benchmarks/cold_start.py
	$(PY) benchmarks/readme_table.py

gpu-check: $(VENV)/.installed  ## doctor, build, checks, conformance, bench on this GPU; one archive (BUNDLE=, BACKEND=, ARGS=)
	$(PY) scripts/gpu_check.py $(if $(BUNDLE),--bundle "$(BUNDLE)") $(if $(BACKEND),--backend "$(BACKEND)") $(ARGS)

clean:  ## everything that was built here, the virtual environment included
	rm -rf build demo $(VENV)

check-tools:
	@bash cmake/check_tools.sh

$(VENV)/bin/python: | check-tools
	"$$(bash cmake/check_tools.sh --python)" -m venv $(VENV)

# Development tools and third-party packages; again where the lists change. Python compiles what is imported when it is, a
# tenth of what pip would compile.
$(VENV)/.packages: constraints.txt requirements-dev.txt requirements-headers.txt requirements-oracles.txt | $(VENV)/bin/python
	$(PIP) install --no-compile -r requirements-dev.txt
	$(PIP) install --no-compile --no-deps -r requirements-headers.txt -r requirements-oracles.txt
	touch $@

# The package itself, editable; compiled again where a native source changes.
$(VENV)/.installed: $(VENV)/.packages $(SOURCES)
	$(PIP) install --no-build-isolation --no-deps --config-settings=cmake.define.NAVIT_EDGE_WERROR=ON --editable .
	touch $@
