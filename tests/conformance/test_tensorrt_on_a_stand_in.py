"""This suite through the TensorRT backend, on stand-ins for NVIDIA's libraries (tests/simulator).

It shows that OUR HOST LOGIC keeps the contract. How NVIDIA's libraries or a GPU behave, only a device shows.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tensorrt_build as trt


def test_the_tensorrt_backend_passes_this_suite_on_a_stand_in(
    request: pytest.FixtureRequest, tiny_bundle: Path
) -> None:
    shown = trt.conformance(tiny_bundle)
    counts = re.search(r"(\d+) passed, (\d+) deselected", shown)
    assert counts is not None, shown
    here = [item for item in request.session.items if "conformance" in item.path.parts and item is not request.node]
    if len(here) > 20:  # the suite is run whole, on engines of OpenVINO's: each of its tests was run there too
        named = {item.name.split("[")[0] for item in here if "engine" in getattr(item, "fixturenames", ())}
        assert len({name.split("[")[0] for name in re.findall(r"::(\w+)", shown)}) == len(named), shown
