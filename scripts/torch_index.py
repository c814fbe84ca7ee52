"""Prints pip's options for a PyTorch without CUDA, or nothing if pip finds one by itself.

PyPI's build for x86-64 brings gigabytes of CUDA packages, which nothing here needs. PyTorch's own index has builds
without them. If it does not answer (no network, another index for everything), pip's own configuration decides.
"""

from __future__ import annotations

import sys
import urllib.request
from importlib.util import find_spec

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
LIMIT_S = 5


def options(index: str) -> str:
    """--extra-index-url of ``index`` if torch is not installed and the index has it: pip prefers its 2.13.0+cpu."""
    if find_spec("torch") is not None:
        return ""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=LIMIT_S):
            return f"--extra-index-url={index}"
    except (OSError, ValueError):
        return ""


if __name__ == "__main__":
    print(options(sys.argv[1] if len(sys.argv) > 1 else CPU_INDEX))
