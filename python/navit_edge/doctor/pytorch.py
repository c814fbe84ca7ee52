"""Which PyTorch is installed. Only `navit-edge export` uses it, on the CPU; it isn't imported here."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from navit_edge.doctor.finding import Finding, State

#: PyTorch's own index of builds without CUDA. PyPI's build for x86-64 brings gigabytes of CUDA packages.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_INSTALL = f'pip install "navit-edge[export]" --extra-index-url {CPU_INDEX}'


def torch_finding() -> Finding:
    """PyTorch's version, and which CUDA it was built for. Facts: "version" and "cuda", null where there is none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        text = "not installed; only export needs it (without CUDA)"
        return Finding("PyTorch", State.ABSENT, text, remedy=(_INSTALL,), facts={"version": None, "cuda": None})
    try:
        told = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        told = ""
    version, cuda = (_assigned(name, told) for name in ("__version__", "cuda"))
    text = version or f"of no stated version ({spec.origin})"
    if cuda:
        text += f", built for CUDA {cuda}; only export uses it, on the CPU: its CUDA packages are not needed"
    elif version:
        text += ", without CUDA, which nothing here needs"
    return Finding("PyTorch", State.FOUND, text, facts={"version": version, "cuda": cuda})


def _assigned(name: str, text: str) -> str | None:
    """The text that a Python file assigns to a name, or None."""
    found = re.search(rf"^{name}\b[^=\n]*= *'([^'\n]*)'", text, re.MULTILINE)
    return found[1] if found else None
