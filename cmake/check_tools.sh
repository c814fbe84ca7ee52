#!/usr/bin/env bash
# Checks for what cannot be installed into a virtual environment: Python >= 3.10 with venv, a C++20 compiler, CMake >= 3.22.
# With --python prints the interpreter to use. Every missing tool is named with its remedy.
set -u

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

compiles_cxx20() {
  local folder status
  folder=$(mktemp -d)
  echo '#include <span>
int main() { int a[1] = {0}; return std::span<int>(a)[0]; }' >"$folder/probe.cc"
  "${CXX:-c++}" -std=c++20 "$folder/probe.cc" -o "$folder/probe" >/dev/null 2>&1
  status=$?
  rm -rf "$folder"
  return $status
}

missing=0
python=$(find_python) || {
  echo "navit-edge needs Python 3.10 or newer with its venv module; install python3 and python3-venv, or set PYTHON=/path/to/python3" >&2
  missing=1
}
if [ "${1:-}" = "--python" ]; then
  [ "$missing" = 0 ] && echo "$python"
  exit "$missing"
fi
compiles_cxx20 || {
  echo "navit-edge needs a C++20 compiler (g++ 11 or clang 14 and newer); install g++, or set CXX=/path/to/c++" >&2
  missing=1
}
if ! command -v cmake >/dev/null 2>&1; then
  echo "navit-edge needs CMake 3.22 or newer; install cmake" >&2
  missing=1
elif [ "$(printf '%s\n' 3.22 "$(cmake --version | sed -nE '1s/.*version ([0-9.]+).*/\1/p')" | sort -V | head -n 1)" != 3.22 ]; then
  echo "navit-edge needs CMake 3.22 or newer; found $(cmake --version | head -n 1); install a newer cmake" >&2
  missing=1
fi
exit "$missing"
