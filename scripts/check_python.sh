#!/usr/bin/env bash
# check_python.sh VERSION: the package built and installed for another Python, and its tests that need no PyTorch.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
folder=build/python$version

for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version."*/bin/python; do
  "$python" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" >/dev/null 2>&1 && break
  python=
done
[ -n "$python" ] || {
  echo "no python$version with its venv module; install python$version and python$version-venv, or put it on PATH" >&2
  exit 1
}

mkdir -p "$folder"
# What of the development packages stands on PyTorch, and atheris, which has no wheel for every Python.
cat requirements-{build,demo,dev}.txt | grep -vE '^(-r|torch|onnxscript|atheris|tensorrt-rtx)' >"$folder/requirements.txt"
[ -x "$folder/venv/bin/python" ] || "$python" -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --disable-pip-version-check)
PIP_CONSTRAINT=$PWD/constraints.txt "${pip[@]}" install --quiet --no-compile -r "$folder/requirements.txt"
CXX=${CXX:-c++} "${pip[@]}" install --quiet --no-build-isolation --no-deps --config-settings=cmake.define.NAVIT_EDGE_WERROR=ON .
exec "$folder/venv/bin/python" -m pytest -m "not slow" tests/python tests/conformance -p no:cacheprovider
