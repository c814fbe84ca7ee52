#!/usr/bin/env bash
# find_python.sh VERSION: prints a Python of this version that can make virtual environments, from PATH or of pyenv.
set -euo pipefail
version=$1
for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version."*/bin/python; do
  "$python" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" >/dev/null 2>&1 && {
    echo "$python"
    exit
  }
done
echo "no python$version with its venv module; install python$version and python$version-venv, or put it on PATH" >&2
exit 1
