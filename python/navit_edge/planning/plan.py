"""Planning and resizing on their own, without a session: the session's own code (csrc/src/plan/, pixels/)."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.bundle.merging import Merging
from navit_edge.bundle.sizing_rule import Sizing, parse, to_json
from navit_edge.errors import InvalidInputError
from navit_edge.machine.cores import usable_cores
from navit_edge.options import checked_int, whole, whole_pair
from navit_edge.pixels import as_pixels, checked_list, size_of
from navit_edge.vocabulary import WHITE, AlphaRule, AttentionCost, Filter, Layout, Processor, Strategy

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Engine, Manifest
    from navit_edge.pixels import ImageLike


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Predicted microseconds of a pack alone on its device: ``fixed_us + us_per_token * T + us_per_score * S``.

    T is the pack's own token count if ``dynamic_tokens``, else its budget's. S is N * L^2 if attention is
    "padded", the sum of l^2 if it is computed for "segments", T^2 if it is computed on the "whole" pack.

    budgets: (fixed_us, us_per_token, us_per_score), one for each budget or one for all.
    measured: by ``navit-edge bench --calibrate``; False: assumed from the model's sizes.
    """

    attention: AttentionCost = "segments"
    dynamic_tokens: bool = False
    budgets: tuple[tuple[float, float, float], ...] = ()
    measured: bool = False

    @staticmethod
    def of(bundle: str | os.PathLike[str], engine: str) -> CostModel:
        """That of an engine of a bundle, by id: measured coefficients, or assumed ones. Raises BundleError."""
        found = _core.cost_model(os.fspath(bundle), engine)
        return CostModel(**{**found, "budgets": tuple(found["budgets"])})

    @staticmethod
    def assumed(manifest: Manifest, target: str, *, attention: AttentionCost, dynamic_tokens: bool) -> CostModel:
        """From the model's sizes: FLOPs at a stated rate for "cpu", another for every other target."""
        model = manifest.model
        named = [model.config.get(name) for name in ("mlp_width", "intermediate_size")]
        mlp_width = next((value for value in named if isinstance(value, int)), 4 * model.width)
        merging = model.merging if isinstance(model.merging, Merging) else None
        triple = _core.assumed_cost(
            width=model.width,
            depth=model.depth,
            mlp_width=mlp_width,
            target=target,
            merging=(merging.layer, merging.kept, merging.of) if merging else (0, 0, 0),
        )
        return CostModel(attention=attention, dynamic_tokens=dynamic_tokens, budgets=(triple,))


class PackPlan(NamedTuple):
    """One pack of a plan.

    images: indices into the token counts, in the order they lie in the pack.
    tokens: used; longest: of one image; budget: index of the token budget.
    predicted_ms: of the pack alone on the device; finish_ms: when it is done, from the start of the run.
    """

    images: list[int]
    tokens: int
    longest: int
    budget: int
    predicted_ms: float
    finish_ms: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Packs in the order in which they run.

    late: images whose pack is predicted to finish after their deadline.
    predicted_ms: of the whole run.
    strategy: what was used; "auto" if it found a split of its own.
    """

    packs: tuple[PackPlan, ...]
    late: tuple[int, ...] = ()
    predicted_ms: float = 0.0
    strategy: str = "auto"


@dataclass(frozen=True, kw_only=True)
class PlanLimits:
    """What binds a plan. The fields are those of ``navit_edge::PlanLimits`` (csrc/include/navit_edge/plan.h).

    budgets: (tokens, images, target_tokens, longest), ascending: the most tokens and images of a pack, where filling
        stops, and the most tokens of one image (0: as many as the pack holds).
    base: what "auto" keeps unless it finds something faster.
    streams: 2 if two packs may run at once, each with half of the device.
    """

    budgets: tuple[tuple[int, int, int, int], ...]
    strategy: Strategy = "auto"
    cost: CostModel = field(default_factory=CostModel)
    base: Strategy = "first-fit-decreasing"
    streams: int = 1

    @staticmethod
    def of(bundle: Path, engine: Engine, *, strategy: Strategy = "auto", threads: int = 0) -> PlanLimits:
        """Those of a session on an engine of a bundle, with ``threads`` CPU threads (0: all)."""
        cores = checked_int("threads", threads) or usable_cores()
        return PlanLimits(
            budgets=tuple((one.tokens, one.images, one.target_tokens, one.longest or 0) for one in engine.budgets),
            strategy=strategy,
            cost=CostModel.of(bundle, engine.id),
            base=engine.strategy,
            streams=2 if engine.dynamic_tokens and cores >= 2 else 1,
        )


def plan(
    token_counts: Sequence[int],
    *,
    token_budget: int | Sequence[int],
    max_images: int,
    strategy: Strategy = "auto",
) -> list[list[int]]:
    """Distributes images over packs.

    token_counts: tokens of each image.
    token_budget: most tokens in a pack, or the budgets to choose from.
    max_images: most images in a pack.
    strategy: "auto" takes the packs with the least predicted time; a pack costs as much as its budget, filled or
        not. "first-fit" and "best-fit" put an image into the first pack with room, or the fullest; with
        "-decreasing" the longest image comes first. "similar-length" fills one pack after the other, longest first,
        for attention that pads within a pack; "fifo" the same in the order given.

    Returns the packs, each a list of indices into ``token_counts``; every image is in exactly one. ``plan_packs`` takes
    deadlines and a cost model and returns predicted times, too. Raises OverBudgetError for an image above every budget,
    InvalidInputError for counts or limits below 1.
    """
    expected = "a number of tokens, or several"
    given = token_budget if isinstance(token_budget, Iterable) and not isinstance(token_budget, str) else [token_budget]
    budgets = sorted(whole("token_budget", one, expected) for one in given)
    max_images = whole("max_images", max_images, "a number of images")
    limits = PlanLimits(budgets=tuple((tokens, max_images, tokens, 0) for tokens in budgets), strategy=strategy)
    return [pack.images for pack in plan_packs(token_counts, limits).packs]


def plan_packs(
    token_counts: Sequence[int], limits: PlanLimits, *, deadlines_ms: float | Sequence[float] | None = None
) -> Plan:
    """Distributes images over packs under all of ``limits``, and says what that is predicted to take.

    token_counts: tokens of each image.
    deadlines_ms: from the start of the run: one for all images, or one for each (math.inf: none). Packs then run one
        after the other, the urgent ones first and smaller if that helps; images that cannot be on time are named in
        ``Plan.late`` and run last. Without deadlines the least time for the whole set counts.

    Raises OverBudgetError for an image above every budget, InvalidInputError for counts, limits or deadlines that make
    no sense.
    """
    if deadlines_ms is None:
        deadlines: list[float] = []
    elif isinstance(deadlines_ms, numbers.Real):
        deadlines = [float(deadlines_ms) * 1e3] * len(token_counts)
    else:
        deadlines = [float(deadline) * 1e3 for deadline in deadlines_ms]  # type: ignore[union-attr]
        if len(deadlines) != len(token_counts):
            raise InvalidInputError(f"{len(deadlines)} deadlines for {len(token_counts)} images; expected one for each")
    cost = limits.cost
    try:
        made: dict[str, Any] = _core.plan(
            token_counts,
            budgets=limits.budgets,
            strategy=limits.strategy,
            base=limits.base,
            cost=cost.budgets,
            attention=cost.attention,
            dynamic_tokens=cost.dynamic_tokens,
            streams=limits.streams,
            deadlines_us=deadlines,
        )
    except TypeError:
        for index, count in enumerate(token_counts):
            whole(
                f"the token count of image {index}",
                count,
                "a whole number; navit_edge.choose gives the tokens of images",
            )
        raise
    packs = tuple(map(PackPlan._make, made["packs"]))
    return Plan(
        packs=packs, late=tuple(made["late"]), predicted_ms=made["predicted_us"] / 1e3, strategy=made["strategy"]
    )


def pack(
    images: Sequence[ImageLike],
    *,
    patch_px: int = 16,
    max_tokens: int = 0,
    sizing: Sizing | str | None = None,
    prefix_tokens: int = 0,
    filter: Filter = "bilinear",
    alpha: AlphaRule = "drop",
    background: tuple[int, int, int] = WHITE,
    pad_to: tuple[int, int] | None = None,
    threads: int = 0,
    layout: Layout | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Resizes images, cuts them into patches and lays them into one pack: the inputs of an exported graph.

    images: what ``Session.run`` takes, in the order that they get in the pack (see ``plan``).
    patch_px: P, the side of a patch in pixels.
    max_tokens: most patches of an image (the rule "token-cap"); 0: each side is rounded to whole patches ("native").
    sizing: another rule, as in a manifest or as text ("smart-resize:merge=2,min_pixels=3136,max_pixels=1003520").
    filter: Pillow's of that name.
    alpha: what becomes of a fourth channel; "composite" lays the image over ``background``.
    prefix_tokens: rows of zeros (CLS, registers) at the start of each image, counted in T.
    pad_to: (T, N) to pad to, as an engine with fixed budgets has them; None: as many as there are.
    threads: CPU threads; 0: all.
    layout: as of ``Session.run``.

    Returns by name, with F = P * P * 3, pixels in (row, column, channel) order: ``patches`` uint8 [T, F];
    ``positions`` int32 [T, 2], (row, column) in the image, (-1-k, -1-k) for prefix token k; ``segment_ids`` int32 [T],
    which image, N for padding; ``grid_hw`` int32 [N, 2]; ``attention_index`` int32 [N, L], the pack row of token l of
    image n, -1 if there is none; ``token_index`` int32 [T], n * L + l; ``cu_seqlens`` int32 [N + 1], where each
    image begins and the last ends. A graph takes those that it lists. Raises InvalidInputError
    for an image that cannot be used, and if the images need more than ``pad_to``.
    """
    patch_px = whole("patch_px", patch_px, "pixels, 1 and up")
    max_tokens = whole("max_tokens", max_tokens, "a number of patches, or 0")
    if sizing is None:
        sizing = Sizing(rule="token-cap", max_tokens=max_tokens) if max_tokens else Sizing(rule="native")
    rule = to_json(parse(sizing, max_tokens=max_tokens or None) if isinstance(sizing, str) else sizing)
    images = checked_list(images, "pack")
    views = [as_pixels(image, f"image {index}", layout=layout).pixels for index, image in enumerate(images)]
    sizes = np.array([size_of(view) for view in views], np.int32).reshape(-1, 2)
    grids = [(int(rows), int(cols)) for rows, cols in _core.resize_targets(sizes, patch_px=patch_px, sizing=rule)]
    expected = "(T, N), 1 and up each, or None"
    pad_tokens, pad_images = (0, 0) if pad_to is None else whole_pair("pad_to", pad_to, expected)
    if pad_to is not None and min(pad_tokens, pad_images) < 1:
        raise InvalidInputError(f"pad_to is {pad_to}; expected {expected}")
    packer = _core.Packer.of(
        patch_px=patch_px,
        sizing=rule,
        filter=filter,
        alpha=alpha,
        background=background,
        prefix_tokens=whole("prefix_tokens", prefix_tokens, "a number of tokens"),
        pad_tokens=pad_tokens,
        pad_images=pad_images,
        threads=checked_int("threads", threads) or usable_cores(),
    )
    return packer.write(views, grids)


def resize(
    image: ImageLike,
    size: tuple[int, int],
    filter: Filter = "bilinear",
    *,
    processor: Processor = "pillow",
    layout: Layout | None = None,
) -> npt.NDArray[np.uint8]:
    """``image`` at ``size`` (height_px, width_px), bit for bit as Pillow 13's ``Image.resize``, antialiased.

    image: uint8 [h, w] or [h, w, 1] (one channel), [h, w, 3], or [h, w, 4], whose last channel is alpha: the others
        are premultiplied with it for the resize, as Pillow does, except by "nearest". Any row stride; read in place.
        Or ``Pixels``: gray gives one channel, RGBA and BGRA give RGBA, the rest RGB. Or whatever else
        ``Session.run`` takes, decoded as ``to_rgb`` does.
    size: 1 to 2**20 a side.
    processor: "torchvision" gives the bytes of torch's antialiased interpolation of uint8 instead, as torchvision's
        resize runs it on x86-64: "bilinear" and "bicubic" only, and all channels alike (docs/preprocessing.md).
    layout: as of ``Session.run``; the result is [height_px, width_px, C] in any case.

    Returns uint8 [height_px, width_px, C]. Raises InvalidInputError.
    """
    height_px, width_px = whole_pair("size", size, "(height_px, width_px), whole numbers")
    return _core.resize(as_pixels(image, layout=layout).pixels, (height_px, width_px), filter, processor)
