#!/usr/bin/env bash
# check_docs.sh: the commands of the README and of every page in a clean place: a fresh virtual environment with the wheel and
# its extras as pip brings them, an empty home, none of this shell's variables but pip's, and no network once they are there.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/build/docs
rm -rf "$folder"
mkdir -p "$folder/home" "$folder/repository"
git ls-files -z --cached --others --exclude-standard | xargs -0 tar -c | tar -x -C "$folder/repository"
.venv/bin/python -m venv "$folder/venv"
python=$folder/venv/bin/python
pip=("$python" -m pip --disable-pip-version-check)
.venv/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder" .
# shellcheck disable=SC2046  # nothing or one option
PIP_CONSTRAINT=$PWD/constraints.txt "${pip[@]}" install --quiet --no-compile $("$python" scripts/torch_index.py) \
  "$(echo "$folder"/navit_edge-*.whl)[openvino,export,quantize,verify,run,heic,demo]" pytest hypothesis einops tqdm regex tokenizers \
  huggingface-hub scipy packaging
PIP_CONSTRAINT=$PWD/constraints.txt "${pip[@]}" install --quiet --no-compile --no-deps -r requirements-oracles.txt

cd "$folder/repository"
git init --quiet . # the list of files, for the test that pages name existing ones
git add --all
alone=()
if unshare --user --map-root-user --net ip link set lo up 2>/dev/null; then
  # shellcheck disable=SC2016  # for the inner shell
  alone=(unshare --user --map-root-user --net sh -c 'ip link set lo up && exec "$@"' sh)
else
  echo "this machine gives no network of its own: the network stays" >&2
fi
exec "${alone[@]}" env -i "PATH=$folder/venv/bin:/usr/local/bin:/usr/bin:/bin" "HOME=$folder/home" LANG=C.UTF-8 "$python" -m pytest -p no:cacheprovider tests/python/test_docs_commands.py tests/python/test_docs_paths.py \
  tests/python/test_readme.py "$@"
