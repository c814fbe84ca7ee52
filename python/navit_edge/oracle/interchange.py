"""Inputs and outputs in Polygraphy's own JSON, with which its commands go on: ``--load-inputs``, ``--load-outputs``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = Mapping[str, npt.NDArray[np.generic]]


def inputs_json(packs: Iterable[Arrays]) -> bytes:
    """One iteration a pack: input name -> value."""
    from polygraphy.json import to_json

    text: str = to_json([dict(inputs) for inputs in packs])
    return text.encode()


def outputs_json(outputs: Iterable[Arrays], *, runner: str) -> bytes:
    """One iteration a pack: output name -> value, as the results of a runner of this name."""
    from polygraphy.comparator import RunResults

    results = RunResults()
    results.add([dict(values) for values in outputs], runner_name=runner)
    text: str = results.to_json()
    return text.encode()
