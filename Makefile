# Two commands: `make demo` and `make test`. Both create .venv and install what they need.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# What is resolved; single packages, and what is unusual, by pip.
INSTALL := $(PY) scripts/install_packages.py
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
# Hundreds of processes of the tests import PyTorch; without its bytecode on disk each compiles it again.
unexport PYTHONDONTWRITEBYTECODE

# make's own --parallel without a number starts everything at once, which a small board has no memory for.
JOBS := $(shell nproc 2>/dev/null || echo 2)

# Of pytest: one more than there are cores, since tests wait for processes that they start; each takes about 1.7 GB.
WORKERS := $(shell awk -v n=$(JOBS) '/MemTotal/ { most = int($$2 / 1700000) } \
  END { n = n + 1 < most ? n + 1 : most; n = n < 8 ? n : 8; print (n < 1 ? 1 : n) }' /proc/meminfo)
# A worker that dies ends the run: pytest-xdist may wait for ever for the tests of the one that it starts instead.
SHARED := --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# Several trees compile the same files: the editable install, the tests', the wheel's, the stand-ins'. ccache, of the packages
# below or the system's, compiles each once. `=`, since it is only there once the packages are.
# Under one name: scikit-build-core takes g++ where nothing is said, CMake c++, and ccache tells them apart.
ifeq ($(origin CXX),default)
CXX := c++
endif
export CXX
export CCACHE_DIR ?= $(CURDIR)/build/ccache
# Sources that CMake writes into a build folder are the same in each, and paths below this one are compared as relative.
export CCACHE_BASEDIR ?= $(CURDIR)
# Empty is as good as undefined: what `make test` gives to the makes that it starts is from before there was one.
ifeq ($(CMAKE_CXX_COMPILER_LAUNCHER),)
export CMAKE_CXX_COMPILER_LAUNCHER = $(shell command -v "$(CURDIR)/$(VENV)/bin/ccache" || command -v ccache)
endif

# An editable install maps modules by name, so a new Python file needs it again too; where nothing native changed it takes seconds.
SOURCES := CMakeLists.txt pyproject.toml $(shell find csrc cmake python export -type f -not -name "*.pyc" 2>/dev/null)

.PHONY: help demo test test-fast test-cpp test-python compile-aarch64 test-sanitizers fuzz soak verify-families test-serving lint check-tools bench gpu-check gpu-proof gpu-proof-kit wheels clean
.PHONY: tidy check-all check-gcc11 check-clang check-aarch64 check-docs check-python3.10 check-python3.12 check-python3.13

help:  ## this list
	@grep -hE '^[a-z0-9. %-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 36

# Where the packages of the tests are, they are enough for the demo.
demo: $(VENV)/$(if $(wildcard $(VENV)/.packages),.installed,.demo-installed)  ## export, build and run a trained NaViT; ends with demo/report.html
	$(PY) examples/demo.py

# NVIDIA's tritonserver, and the numpy that its Python backend was compiled for. Pinned there: it is not ours.
TRITON := build/triton/.installed
$(TRITON): requirements-triton.txt | $(VENV)/bin/python
	env -u PIP_CONSTRAINT $(PIP) install --no-compile --no-deps --upgrade --target $(@D) -r requirements-triton.txt
	touch $@

# Unpacking takes one core, compiling the other; so do the checks of `make lint`.
test:  ## the checks of `make lint`, the core compiled for 64-bit Arm, and every test, C++ and Python
	$(MAKE) --no-print-directory --jobs 2 $(VENV)/.packages compile-aarch64 $(TRITON)
	$(MAKE) --no-print-directory --jobs 2 lint test-cpp
	$(MAKE) --no-print-directory test-python

# cpp_tests PRESET,OPTIONS of cmake,OPTIONS of ctest: a preset configured and compiled, its tests run.
with_tools = PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
define cpp_tests
	$(with_tools) cmake --preset $(1) -DPython_EXECUTABLE="$(CURDIR)/$(PY)" $(2)
	$(with_tools) cmake --build --preset $(1) --parallel $(JOBS)
	$(with_tools) ctest --preset $(1) $(3)
endef

test-cpp: $(VENV)/.installed
	$(call cpp_tests,release,,--parallel $(JOBS))

test-fast: $(VENV)/.installed  ## what shows most mistakes: C++, and the quick ones of Python (under 90 s once it is compiled)
	$(call cpp_tests,release,,--parallel $(JOBS))
	$(PY) -m pytest -n $(WORKERS) $(SHARED) -m "not slow"

test-sanitizers: $(VENV)/.installed  ## the C++ tests under the address, undefined-behaviour and thread sanitizers
	$(call cpp_tests,asan)
	$(call cpp_tests,tsan)
	$(PY) tests/simulator/sanitized.py

check-gcc11: $(VENV)/.installed  ## compiled by g++ 11, the oldest GCC that is supported, and the C++ tests
	$(call cpp_tests,gcc11,,--parallel $(JOBS))

CLANG ?= $(shell command -v clang++ || command -v clang++-14)
check-clang: $(VENV)/.installed  ## the same by clang (CLANG=)
	$(call cpp_tests,clang,-DCMAKE_CXX_COMPILER="$(or $(CLANG),clang++)",--parallel $(JOBS))

check-aarch64: $(VENV)/.installed  ## the core cross-compiled for 64-bit Arm; its tests under qemu
	$(call cpp_tests,aarch64,,--parallel $(JOBS))

# Nothing is linked or run, so nothing of the system's is needed. In a folder of its own: another pip may be at work in $(VENV).
ZIG := build/zig/ziglang/zig
$(ZIG): requirements-cross.txt constraints.txt | $(VENV)/bin/python
	$(PIP) install --no-compile --no-deps --upgrade --target build/zig -r requirements-cross.txt
	touch $@

compile-aarch64: $(ZIG) $(VENV)/.build-packages  ## the core compiled for 64-bit Arm by clang, warnings as errors
	$(cross_env) cmake --preset aarch64-clang -DPython_EXECUTABLE="$(CURDIR)/$(PY)" -DNAVIT_EDGE_ZIG="$(CURDIR)/$(ZIG)"
	$(cross_env) cmake --build --preset aarch64-clang --parallel $(JOBS)
cross_env = env -u CXX -u CMAKE_CXX_COMPILER_LAUNCHER ZIG_GLOBAL_CACHE_DIR="$(CURDIR)/build/zig/cache" $(with_tools)

check-python3.10 check-python3.12 check-python3.13: check-python%:  ## the package under another Python; its quick tests that need no PyTorch
	bash scripts/check_python.sh $* -n $(WORKERS) $(SHARED)

check-docs: $(VENV)/.installed  ## the commands of all pages in a fresh environment with the wheel, without a network
	bash scripts/check_docs.sh

FUZZ_COUNT := 20000
FUZZ_FILES := 100000
fuzz: $(VENV)/.installed  ## random images and mutated files, under the sanitizers (FUZZ_COUNT=, FUZZ_FILES=)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --preset asan -DPython_EXECUTABLE="$(CURDIR)/$(PY)"
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --build --preset asan --parallel $(JOBS) --target pixels_fuzz_test jpeg_test png_test
	NAVIT_EDGE_FUZZ_COUNT=$(FUZZ_COUNT) UBSAN_OPTIONS=halt_on_error=1 build/asan/csrc/tests/pixels_fuzz_test
	NAVIT_EDGE_FUZZ_COUNT=$(FUZZ_FILES) UBSAN_OPTIONS=halt_on_error=1 build/asan/csrc/tests/jpeg_test mutated
	NAVIT_EDGE_FUZZ_COUNT=$(FUZZ_FILES) UBSAN_OPTIONS=halt_on_error=1 build/asan/csrc/tests/png_test mutated
	$(PY) tests/fuzz/fuzz_preprocess.py -runs=$(FUZZ_COUNT)
	$(PY) tests/fuzz/fuzz_files.py --count $(FUZZ_FILES)

SOAK_SECONDS := 300
soak: $(VENV)/.installed  ## minutes of ever new shapes through one session: nothing may grow (SOAK_SECONDS=)
	$(PY) tests/soak/soak.py --seconds $(SOAK_SECONDS)

# What CI does not run. Needs, on Debian and Ubuntu: g++-11 clang g++-11-aarch64-linux-gnu qemu-user, and the two Pythons.
check-all: test tidy test-sanitizers check-gcc11 check-clang check-aarch64  ## everything; hours
check-all: check-python3.10 check-python3.12 check-python3.13 check-docs fuzz verify-families test-serving soak
check-all: export NAVIT_EDGE_TESTS_WHOLE = 1

test-python: $(VENV)/.installed $(TRITON)
	$(PY) -m pytest -n $(WORKERS) $(SHARED)

verify-families: export NAVIT_EDGE_TESTS_WHOLE = 1
verify-families: $(VENV)/.installed  ## every case of every family of checkpoints as graphs and as engines (minutes)
	@mkdir -p build
	$(PY) -m pytest -n $(WORKERS) $(SHARED) tests/families -o python_files="test_*.py verify_*.py" -o junit_family=xunit1 --junitxml=build/verify-families.xml
	$(PY) scripts/families_table.py build/verify-families.xml  # the table of docs/families.md

$(VENV)/.serving: requirements-serving.txt | $(VENV)/.packages
	$(PIP) install --no-compile -r requirements-serving.txt
	touch $@

test-serving: export NAVIT_EDGE_FUZZ_REQUESTS ?= 10000
test-serving: $(VENV)/.installed $(TRITON) $(VENV)/.serving  ## the server with more clients: openai, a browser (needs Chromium), hadolint; a larger Ray cluster
	$(PY) -m pytest -n $(WORKERS) $(SHARED) tests/serving tests/ray -o python_files="test_*.py verify_*.py"

lint: $(VENV)/.installed  ## ruff, mypy --strict, clang-format, codespell
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" pre-commit run --all-files --show-diff-on-failure

# But for the kernels, which need the flags of their instruction set.
TIDY_FILES = $(shell git ls-files 'csrc/src/*.cc' | grep -v -e _avx -e _neon)
TIDY_FLAGS = -std=c++20 -Icsrc/include -Ibuild/release/include -Icsrc/src -isystem $(wildcard $(VENV)/lib/python3*/site-packages/nlohmann_json/include)
tidy: $(VENV)/.packages  ## clang-tidy over the core, by .clang-tidy (TIDY_FILES=)
	$(with_tools) cmake --preset release -DPython_EXECUTABLE="$(CURDIR)/$(PY)"  # makes version.h
	printf '%s\n' $(TIDY_FILES) | xargs -P $(JOBS) -n 4 sh -c '$(VENV)/bin/clang-tidy --quiet "$$@" -- $(TIDY_FLAGS)' _

bench: $(VENV)/.installed  ## throughput and cold start against PyTorch, ONNX Runtime and OpenVINO; writes README.md
	$(PY) benchmarks/end_to_end.py
	$(PY) benchmarks/cold_start.py
	$(PY) benchmarks/readme_table.py

gpu-check: $(VENV)/.installed  ## doctor, build, checks, conformance, bench on this GPU; one archive (BUNDLE=, BACKEND=, ARGS=)
	$(PY) scripts/gpu_check.py $(if $(BUNDLE),--bundle "$(BUNDLE)") $(if $(BACKEND),--backend "$(BACKEND)") $(ARGS)

GPU_DEVICE := cuda
gpu-proof: $(VENV)/.installed  ## what any NVIDIA GPU shows without TensorRT, eight minutes (GPU_DEVICE=cpu rehearses; BUNDLE=, ARGS=)
	$(with_tools) cmake --preset stand-ins -DPython_EXECUTABLE="$(CURDIR)/$(PY)"
	$(with_tools) cmake --build --preset stand-ins --parallel $(JOBS)
	$(PY) scripts/gpu_proof.py --device $(GPU_DEVICE) $(if $(BUNDLE),--bundle "$(BUNDLE)") $(ARGS)

gpu-proof-kit: $(VENV)/.installed  ## .kit/: all that gpu-proof needs elsewhere, under 60 MiB; tried without this checkout (needs Python 3.12)
	$(PY) scripts/gpu_proof_kit.py --try

wheels: | $(VENV)/bin/python  ## manylinux wheels for this processor in dist/, each tried by its demo; needs docker
	$(PIP) install --no-compile -r requirements-wheels.txt
	env -u PIP_CONSTRAINT -u CMAKE_CXX_COMPILER_LAUNCHER $(PY) -m cibuildwheel --platform linux --output-dir dist

clean:  ## everything that was built here, the virtual environment included
	rm -rf build demo $(VENV)

check-tools:
	@bash cmake/check_tools.sh

$(VENV)/bin/python: | check-tools
	"$$(bash cmake/check_tools.sh --python)" -m venv $(VENV)

# What compiles; again where the lists change. Python compiles what is imported when it is, a tenth of what pip would compile.
$(VENV)/.build-packages: constraints.txt requirements-build.txt requirements-jpeg.txt | $(VENV)/bin/python
	$(INSTALL) -r requirements-build.txt
	$(PIP) install --no-compile --no-deps --ignore-requires-python -r requirements-jpeg.txt
	touch $@

# The package itself, editable, and at the same time what the demo needs: unpacking takes one core, compiling the other.
$(VENV)/.demo-installed: requirements-demo.txt $(VENV)/.build-packages $(SOURCES)
	$(PY) scripts/install_editable.py build/install.log requirements-demo.txt
	touch $@

# Development tools and third-party packages.
$(VENV)/.packages: constraints.txt requirements-dev.txt requirements-demo.txt requirements-build.txt requirements-headers.txt
$(VENV)/.packages: requirements-oracles.txt $(VENV)/.build-packages
	$(INSTALL) $$($(PY) scripts/torch_index.py) -r requirements-dev.txt
	$(INSTALL) --no-deps -r requirements-headers.txt -r requirements-oracles.txt
	touch $@

# The package itself, editable; compiled again where a native source changes.
$(VENV)/.installed: $(VENV)/.packages $(SOURCES)
	$(PY) scripts/install_editable.py build/install.log
	touch $@
