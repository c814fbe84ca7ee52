#!/usr/bin/env bash
# bash run.sh [--device cuda|cpu] [OPTIONS of scripts/gpu_proof.py]: unpacks the kit beside itself and runs it.
# PYTHON names Python 3.12 with torch, onnx and numpy; nothing is installed. Results lie in gpu-proof, or where --output
# says.
set -euo pipefail
kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
unpacked=${UNPACKED:-$kit.unpacked}
python=${PYTHON:-python3.12}
export PYTHONPATH=$kit/scripts PYTHONDONTWRITEBYTECODE=1
"$python" -m proof.unpack "$kit" "$unpacked"
export PYTHONPATH=$unpacked/site
exec "$python" "$kit/scripts/gpu_proof.py" --libraries "$unpacked/libraries" --bundle "$unpacked/ti16.navit" "$@"
