"""A bundle's engines for texts against the float32 graph of its text tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.bundle.manifest import Manifest, Tolerance
from navit_edge.errors import InvalidInputError
from navit_edge.machine.libraries import package_directories
from navit_edge.oracle.graph import infer, open_runner
from navit_edge.text_encoder import Array, TokenizedTexts, tokenize, unit
from navit_edge.verify.certificate import Check
from navit_edge.verify.compare import Distance, distances, same_bits

#: Embedded: short and long ones, one that is cut, none at all; the same in every version, since reports are compared.
TEXTS = (
    "a cat", "two dogs", "a photo of a red car", "", "A PHOTO OF A TREE", "at night, in the rain", "ärger 日本語",
    "the quick brown fox jumps over the lazy dog " * 9, "7 + 5 = 12", "no such thing", "a drawing of a bird, in blue",
    "x",
)  # fmt: skip


class TextReference:
    """The float32 graph in ONNX Runtime, and what it gives for each of ``TEXTS``, alone.

    graph: the text tower's file, with its weights beside it.

    Raises MissingPackageError without the tokenizers library, BackendError if ONNX Runtime does not take the graph.
    """

    def __init__(self, bundle: Path, manifest: Manifest, graph: Path) -> None:
        self.tokenized = tokenize(bundle, manifest, TEXTS)
        with open_runner(graph) as runner:
            rows = [
                infer(runner, {"input_ids": self.tokenized.ids[one], "attention_mask": self.tokenized.mask[one]})
                for one in (slice(place, place + 1) for place in range(len(TEXTS)))
            ]
        self.alone: Array = unit(np.concatenate([row["embedding"] for row in rows]), "text embeddings")


def check_text_engine(
    bundle: Path, engine: str, reference: TextReference, tolerance: Tolerance
) -> tuple[tuple[Check, ...], dict[str, Distance]]:
    """Everything that is asked of an engine for texts. Raises BackendError if it cannot run here."""
    encoder = _core.TextEncoder(
        bundle, engine=engine, vendor_dirs=[str(place / "libs") for place in package_directories("openvino")]
    )
    given = reference.tokenized
    try:
        together = encoder.embed(given.ids, given.mask)
    except InvalidInputError as error:  # a row that has no length
        return (_check("every output is a finite number", False, str(error), "yes"),), {}
    alone = np.concatenate(
        [encoder.embed(given.ids[one], given.mask[one]) for one in (slice(n, n + 1) for n in range(len(given.ids)))]
    )
    found = distances(_outputs(alone), _outputs(reference.alone))["embedding"]
    apart = distances(_outputs(together), _outputs(alone))["embedding"].relative
    again = encoder.embed(given.ids, given.mask)
    least = tolerance.min_cosine
    checks = (
        _check("every output is a finite number", True, "yes", "yes"),
        _close("text embedding as in float32", found.relative, tolerance.max_relative),
        _check(
            "text embedding: least cosine to float32",
            found.least_cosine >= least,
            f"{found.least_cosine:.6f}",
            f"{least:g} at least",
        ),
        _close("together as alone", apart, tolerance.max_relative),
        _check("the same run twice, the same bits", *_bits(again, together)),
        _others_stay(encoder, given, together),
    )
    return checks, {"text embedding": found}


def _others_stay(encoder: _core.TextEncoder, given: TokenizedTexts, together: Array) -> Check:
    """Changes one text at a time: no bit of another may change, and its own must."""
    name, count = "one text changed, the others bit-equal", len(given.ids)
    for place in (0, count // 2, count - 1):
        ids, mask = given.ids.copy(), given.mask.copy()
        other = (place + 1) % count
        ids[place], mask[place] = given.ids[other], given.mask[other]
        found = encoder.embed(ids, mask)
        rest = [n for n in range(count) if n != place]
        touched = [n for n in rest if found[n].tobytes() != together[n].tobytes()]
        if touched:
            return _check(name, False, f"text {place} reached text {touched[0]}", "no bit")
        if found[place].tobytes() == together[place].tobytes():
            return _check(name, False, f"text {place} itself gave the same embedding", "another for another text")
    return _check(name, True, "bit-equal", "bit-equal")


def _outputs(rows: npt.NDArray[np.float32]) -> list[dict[str, Array]]:
    return [{"embedding": row} for row in rows]


def _bits(one: Array, other: Array) -> tuple[bool, str, str]:
    holds = same_bits(_outputs(one), _outputs(other))
    return holds, "yes" if holds else "no", "yes"


def _check(name: str, holds: bool, found: str, expected: str) -> Check:
    return Check(name=name, holds=holds, found=found, expected=expected)


def _close(name: str, relative: float, limit: float) -> Check:
    found = f"{relative:.1e} of the largest value"
    return _check(name, relative <= limit, found, f"{limit:g} at most")  # false for NaN
