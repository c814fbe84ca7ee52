"""Inputs and outputs in Polygraphy's own JSON, with which its commands go on: ``--load-inputs``, ``--load-outputs``."""

from __future__ import annotations

from collections.abc import Iterable

from navit_edge.oracle.packs import Inputs, Values


def inputs_json(packs: Iterable[Inputs]) -> bytes:
    """One iteration a pack: input name -> value."""
    from polygraphy.json import to_json

    text: str = to_json([dict(inputs) for inputs in packs])
    return text.encode()


def outputs_json(outputs: Iterable[Values], *, runner: str) -> bytes:
    """One iteration a pack: output name -> value, as the results of a runner of this name."""
    from polygraphy.comparator import RunResults

    results = RunResults()
    results.add(list(outputs), runner_name=runner)
    text: str = results.to_json()
    return text.encode()
