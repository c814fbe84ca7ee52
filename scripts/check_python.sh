#!/usr/bin/env bash
# check_python.sh VERSION [ARGUMENTS of pytest]: the package built and installed for another Python, and its tests that need
# no PyTorch. The bundle that they run comes from .venv, which has it.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
shift
folder=build/python$version

python=$(bash scripts/find_python.sh "$version")

mkdir -p "$folder"
# Without what stands on PyTorch, and atheris, which has no wheel for every Python.
cat requirements-{build,demo,dev}.txt | grep -vE '^(-r|torch|onnxscript|atheris|tensorrt-rtx)' >"$folder/requirements.txt"
[ -x "$folder/venv/bin/python" ] || "$python" -m venv "$folder/venv"
python=$folder/venv/bin/python
pip=("$python" -m pip --disable-pip-version-check)
PIP_CONSTRAINT=$PWD/constraints.txt "${pip[@]}" install --quiet --no-compile -r "$folder/requirements.txt"
PIP_CONSTRAINT=$PWD/constraints.txt "${pip[@]}" install --quiet --no-compile --no-deps -r requirements-headers.txt
PIP_CONSTRAINT=$PWD/constraints.txt "${pip[@]}" install --quiet --no-compile --no-deps --ignore-requires-python -r requirements-jpeg.txt
CXX=${CXX:-c++} "${pip[@]}" install --quiet --no-build-isolation --no-deps --config-settings=cmake.define.NAVIT_EDGE_WERROR=ON .

# What made_once of tests/conftest.py would make with PyTorch.
made=$PWD/$folder/made-once
rm -rf "$made"
mkdir -p "$made/bundle"
.venv/bin/python -c "import sys, pathlib; sys.path.insert(0, 'tests'); import conftest; conftest.make_tiny_bundle(pathlib.Path(sys.argv[1]))" \
  "$made/bundle"
touch "$made/bundle.complete"
NAVIT_EDGE_TESTS_MADE_ONCE=$made exec "$python" -m pytest -p no:cacheprovider -m "not slow" tests/python tests/conformance "$@"
