"""How many tokens an image gets: policies, and what they choose without running anything (docs/policies.md).

``Policy`` is the C++ class itself (csrc/include/navit_edge/policy.h), so that sessions take it as it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from navit_edge import _core
from navit_edge.bundle import manifest as manifests
from navit_edge.decode import DecodeOptions, Decoder, Recorded
from navit_edge.errors import InvalidInputError
from navit_edge.options import checked_int, checked_text, real, whole
from navit_edge.pixels import as_pixels, checked_list
from navit_edge.vocabulary import WHITE, Layout

if TYPE_CHECKING:
    from navit_edge.pixels import ImageLike

Policy = _core.Policy


def checked(policy: Policy | None) -> Policy | None:
    """``policy``, if it is one or None. Raises InvalidInputError: a text must be made one first."""
    if policy is not None and not isinstance(policy, Policy):
        hint = f"Policy({policy!r})" if isinstance(policy, str) else 'Policy("fast")'
        raise InvalidInputError(
            f"policy is of type {type(policy).__name__}; expected navit_edge.Policy or None; write {hint}"
        )
    return policy


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a policy chooses for one image.

    Of a cascade it is the first pass.

    grid: (rows, columns) in patches. tokens: rows * columns and the model's prefix tokens.
    reason: what was chosen and why, as in ``Result.reason``; "" if the image gets what the sizing rule gives.
    """

    grid: tuple[int, int]
    tokens: int
    reason: str


def choose(
    bundle: str | os.PathLike[str],
    images: Sequence[ImageLike | tuple[int, int]],
    policy: Policy,
    *,
    engine: str,
    max_tokens_per_image: int = 0,
    waiting_ms: float = 0.0,
    together: int = 1,
    decode: DecodeOptions | None = None,
    layout: Layout | None = None,
) -> list[Choice]:
    """What a session on ``engine``, an id of the bundle, would choose for each image, without running any.

    images: what ``Session.run`` takes, or (height_px, width_px), which is enough for every policy but content. Of a
        drop of blank patches all are counted then.
    waiting_ms: predicted time of what was given before, for a latency target.
    together: how many images are given at once, for a latency target: ``Session.run`` gives all of its list.
    decode: as of ``Session``. layout: as of ``Session.run``.

    Raises InvalidInputError, and BundleError for an engine that the bundle does not have.
    """
    together = whole("together", together, "how many images, 1 and up")
    waiting_ms = real("waiting_ms", waiting_ms, "milliseconds, 0 and up")
    if together < 1 or not waiting_ms >= 0:
        raise InvalidInputError(f"together is {together} and waiting_ms is {waiting_ms}; expected 1 and up, 0 and up")
    images = checked_list(images, "choose")
    decoder = None
    if not all(isinstance(image, tuple) for image in images):
        decoder = Decoder(decode, Recorded.of(manifests.load(Path(bundle)).preprocess))
    given: list[Any] = [
        (int(image[0]), int(image[1]))
        if isinstance(image, tuple)
        else as_pixels(image, f"image {index}", decoder, layout).pixels
        for index, image in enumerate(images)
    ]
    policy_given = checked(policy) or Policy.native()
    made = _core.choose_grids(
        os.fspath(Path(bundle)),
        checked_text("engine", engine),
        policy_given,
        given,
        max_tokens_per_image=checked_int("max_tokens_per_image", max_tokens_per_image),
        waiting_us=waiting_ms * 1e3,
        together=together,
    )
    return [Choice(grid=grid, tokens=tokens, reason=reason) for grid, tokens, reason in made]


def complexity(
    image: ImageLike,
    *,
    alpha: Literal["drop", "composite"] = "drop",
    background: tuple[int, int, int] = WHITE,
    layout: Layout | None = None,
) -> float:
    """How much there is to see in an image, as a content policy takes it: 0 if it is flat, 1/3 for noise.

    The mean difference in luma, over 255, between neighbours of a copy of the image whose longer side is 64 pixels,
    each taken as it is. About the same for an image at any scale.

    image, layout: what ``Session.run`` takes. alpha, background: what becomes of an alpha channel, as in the manifest.
    Raises InvalidInputError.
    """
    return _core.complexity(as_pixels(image, "the image", layout=layout).pixels, alpha, background)
