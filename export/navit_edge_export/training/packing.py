"""Which images train together: packs by the product's own planner, gathered into steps, spread over ranks.

A window is a part of an epoch that is planned at once. Its plan depends on the seed, the window, the budget and the
progress alone, so that a run resumes in the middle of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge.planning import plan
from navit_edge.vocabulary import Strategy
from navit_edge_export.training.randomness import generator
from navit_edge_export.training.resolution import ResolutionPools
from navit_edge_export.training.token_drop import TokenDrop, drop_rates, kept_count

#: How a window's images are put into packs -> the planner's strategy. sorted: the longest first, fullest packs. random:
#: as they come. area: images of like area together, which wastes least if attention pads inside a pack.
ORDERS: dict[str, Strategy] = {"sorted": "first-fit-decreasing", "random": "first-fit", "area": "similar-length"}


class ImageSpec(NamedTuple):
    """One image as it will be seen: its number in the dataset, grid in patches, and how many patches are kept."""

    example: int
    rows: int
    columns: int
    kept: int


class PackSpec(NamedTuple):
    """What a pack will hold. Small: it is sent to the worker process that makes the pack.

    number: of the pack, unique in the run: (epoch, window, place); the key of its random draws.
    tokens: prefix tokens included.
    """

    number: tuple[int, int, int]
    images: tuple[ImageSpec, ...]
    tokens: int


class Cost(Protocol):
    """Predicts what a pack takes, in any unit."""

    def __call__(self, pack: PackSpec) -> float: ...


@dataclass(frozen=True, kw_only=True)
class TransformerCost:
    """Multiplications of a transformer: per token 4 D^2 + 2 D M, per score 2 D, times its depth. Prefix tokens are left
    out."""

    width: int
    mlp_width: int
    depth: int
    padded: bool = False  # attention pads each image to the pack's longest

    def __call__(self, pack: PackSpec) -> float:
        """See Cost."""
        kept = [image.kept for image in pack.images]
        scores = len(kept) * max(kept) ** 2 if self.padded else sum(n * n for n in kept)
        per_token = 4 * self.width**2 + 2 * self.width * self.mlp_width
        return float(self.depth * (sum(kept) * per_token + scores * 2 * self.width))


class Step(NamedTuple):
    """The packs of one optimizer step, on one rank; images and tokens of all ranks."""

    packs: tuple[PackSpec, ...]
    images: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class PackingOptions:
    """How images become packs and steps.

    max_images: most images of a pack.
    tokens_per_step: gradients are accumulated over packs until they have seen this many tokens.
    order: one of ORDERS.
    window_images: images that are planned at once; more fill packs better, fewer follow a new budget sooner.
    """

    max_images: int = 64
    tokens_per_step: int = 4096
    order: str = "random"
    window_images: int = 8192

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InvalidInputError(f'order "{self.order}" is unknown; expected one of {", ".join(ORDERS)}')
        for name in ("max_images", "tokens_per_step", "window_images"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"packing: {name} is {getattr(self, name)}; expected at least 1")


class Efficiency(NamedTuple):
    """How full packs are. filled: tokens of all that the budgets hold. attended: of the scores that attention computes
    if it pads each image to the longest of its pack, the share that counts."""

    packs: int
    images: int
    tokens: int
    filled: float
    attended: float

    @staticmethod
    def of(packs: Sequence[PackSpec], token_budget: int) -> Efficiency:
        """Of planned packs, of which there is at least one."""
        kept = [[image.kept for image in pack.images] for pack in packs]
        tokens = sum(pack.tokens for pack in packs)
        return Efficiency(
            packs=len(packs),
            images=sum(map(len, kept)),
            tokens=tokens,
            filled=tokens / (len(packs) * token_budget),
            attended=sum(n * n for own in kept for n in own) / sum(len(own) * max(own) ** 2 for own in kept),
        )


@dataclass(frozen=True, kw_only=True)
class WindowPlanner:
    """Plans windows of a dataset of these ``sizes`` [images, 2] (height_px, width_px)."""

    sizes: npt.NDArray[np.int64]
    patch_px: int
    prefix_tokens: int = 0
    resolution: ResolutionPools = field(default_factory=ResolutionPools)
    drop: TokenDrop = field(default_factory=TokenDrop)
    packing: PackingOptions = field(default_factory=PackingOptions)
    seed: int = 0

    @property
    def windows_per_epoch(self) -> int:
        """At least 1; all of about the same length."""
        return max(1, round(len(self.sizes) / self.packing.window_images))

    def indices(self, window: int) -> npt.NDArray[np.int64]:
        """The images of a window, counted from the start of the run, in their order. An epoch has each image once."""
        epoch, part = divmod(window, self.windows_per_epoch)
        order = generator(self.seed, "order", epoch).permutation(len(self.sizes))
        parts: list[npt.NDArray[np.int64]] = np.array_split(order, self.windows_per_epoch)
        return parts[part]

    def packs(
        self,
        window: int,
        *,
        token_budget: int,
        progress: float = 0.0,
        losses: npt.NDArray[np.float64] | None = None,
    ) -> list[PackSpec]:
        """The packs of a window, in the order in which they train.

        progress: share of the training that is done.
        losses: [images] the last loss of each image of the dataset, NaN if there is none; for drops by loss.
        """
        indices = self.indices(window)
        grids = self._grids(indices, window, token_budget, progress)
        patches = [rows * columns for rows, columns in grids]
        rng = generator(self.seed, "drop", window)
        own_losses = None if losses is None else losses[indices]
        rates = drop_rates(self.drop, patches, rng, progress=progress, losses=own_losses)
        kept = [kept_count(count, rate) for count, rate in zip(patches, rates, strict=True)]
        counted = patches if self.drop.choice == "attention" else kept  # which are dropped, the model says later
        chosen = plan(
            [count + self.prefix_tokens for count in counted],
            token_budget=token_budget,
            max_images=self.packing.max_images,
            strategy=ORDERS[self.packing.order],
        )
        shuffled = generator(self.seed, "packs", window).permutation(len(chosen))
        epoch, part = divmod(window, self.windows_per_epoch)
        return [
            PackSpec(
                number=(epoch, part, place),
                images=tuple(ImageSpec(int(indices[i]), *grids[i], kept[i]) for i in chosen[which]),
                tokens=sum(counted[i] + self.prefix_tokens for i in chosen[which]),
            )
            for place, which in enumerate(shuffled)
        ]

    def _grids(
        self, indices: npt.NDArray[np.int64], window: int, token_budget: int, progress: float
    ) -> list[tuple[int, int]]:
        rng = generator(self.seed, "resolution", window)
        most = token_budget - self.prefix_tokens
        if most < 1:
            raise InvalidInputError(
                f"a budget of {token_budget} tokens has no room beside {self.prefix_tokens} prefixes"
            )
        grids = []
        for height_px, width_px in self.sizes[indices].tolist():
            pool = self.resolution.draw(progress, rng)
            grids.append(pool.draw_grid(height_px, width_px, patch_px=self.patch_px, most_tokens=most, rng=rng))
        return grids


def gather_steps(
    packs: Sequence[PackSpec], *, tokens_per_step: int, cost: Cost, rank: int = 0, ranks: int = 1
) -> list[Step]:
    """Packs, in order, gathered into steps of at least ``tokens_per_step`` tokens, of which ``rank`` gets its share.

    What is left over at the end joins the last step. Within a step each rank gets at least one pack, and the costliest
    go first to the rank that has least to do; every rank gathers the same steps.

    Raises InvalidInputError if there are fewer images than ranks.
    """
    groups: list[list[PackSpec]] = [[]]
    for pack in packs:
        if _is_full(groups[-1], tokens_per_step, ranks):
            groups.append([])
        groups[-1].append(pack)
    if len(groups) > 1 and not _is_full(groups[-1], tokens_per_step, ranks):
        groups[-2:] = [groups[-2] + groups[-1]]
    return [_share(group, cost, rank, ranks) for group in groups if group]


def balance(costs: Sequence[float], ranks: int) -> list[list[int]]:
    """Indices of ``costs`` for each rank: the costliest first to the rank with the least so far (Graham, 1969: the
    largest sum is at most 4/3 of the best one's)."""
    parts: list[list[int]] = [[] for _ in range(ranks)]
    sums = [0.0] * ranks
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least = min(range(ranks), key=lambda r: (sums[r], len(parts[r]), r))
        parts[least].append(index)
        sums[least] += costs[index]
    return parts


def halves(pack: PackSpec, tokens_of: Sequence[int]) -> tuple[PackSpec, PackSpec]:
    """The pack in two, with about as many tokens each; it has at least two images. ``tokens_of`` each image."""
    total, before, cut = sum(tokens_of), 0, 1
    for place, tokens in enumerate(tokens_of[:-1]):
        before += tokens
        cut = place + 1
        if 2 * before >= total:
            break
    return (
        PackSpec(pack.number, pack.images[:cut], sum(tokens_of[:cut])),
        PackSpec(pack.number, pack.images[cut:], sum(tokens_of[cut:])),
    )


def _is_full(group: Sequence[PackSpec], tokens_per_step: int, ranks: int) -> bool:
    return sum(pack.tokens for pack in group) >= tokens_per_step and len(group) >= ranks


def _share(group: list[PackSpec], cost: Cost, rank: int, ranks: int) -> Step:
    images = sum(len(pack.images) for pack in group)
    tokens = sum(pack.tokens for pack in group)
    if images < ranks:
        raise InvalidInputError(f"a step has {images} images for {ranks} ranks; use fewer ranks, or larger windows")
    group = list(group)
    while len(group) < ranks:
        largest = max(range(len(group)), key=lambda i: (len(group[i].images) > 1, cost(group[i])))
        pack = group[largest]
        prefix = (pack.tokens - sum(image.kept for image in pack.images)) // len(pack.images)
        group[largest : largest + 1] = halves(pack, [image.kept + prefix for image in pack.images])
    own = sorted(balance([cost(pack) for pack in group], ranks)[rank])
    return Step(packs=tuple(group[i] for i in own), images=images, tokens=tokens)
