"""Packs of pixels from planned packs, in this process or in worker processes; the same bytes either way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError
from navit_edge_export.preprocess import GRAPH_INPUTS, Pack, pack
from navit_edge_export.training.augment import Augment, UInt8Array
from navit_edge_export.training.dataset import Dataset
from navit_edge_export.training.mix import Mix, partners
from navit_edge_export.training.packing import ImageSpec, PackSpec, Step
from navit_edge_export.training.randomness import generator
from navit_edge_export.training.token_drop import choose_patches, keep_tokens

if TYPE_CHECKING:
    import torch
    from torch.utils.data import DataLoader


@dataclass(frozen=True, kw_only=True)
class TrainingPack:
    """One pack, ready to train on.

    targets: [N, classes] float32, each row sums to 1.
    images: what each of the N images is. An image that could not be decoded is not among them.
    unreadable: why each such image is missing.
    """

    pack: Pack
    targets: npt.NDArray[np.float32]
    images: tuple[ImageSpec, ...]
    number: tuple[int, int, int]
    unreadable: tuple[str, ...] = ()

    def inputs(self, lowering: str, device: torch.device) -> dict[str, torch.Tensor]:
        """The arguments of the model's forward."""
        import torch

        arrays = self.pack.inputs()
        return {name: torch.from_numpy(arrays[name]).to(device) for name in GRAPH_INPUTS[lowering]}

    def halves(self) -> tuple[TrainingPack, TrainingPack]:
        """The same images in two packs of about as many tokens each; there are at least two."""
        ends = np.cumsum(self.pack.lengths)
        cut = int(np.clip(np.searchsorted(2 * ends, ends[-1]) + 1, 1, len(self.images) - 1))
        return self._part(0, cut), self._part(cut, len(self.images))

    def _part(self, start: int, stop: int) -> TrainingPack:
        return replace(
            self,
            pack=part_of(self.pack, start, stop),
            targets=self.targets[start:stop],
            images=self.images[start:stop],
            unreadable=self.unreadable if start == 0 else (),
        )


def part_of(whole: Pack, start: int, stop: int) -> Pack:
    """The images start..stop-1 of a pack without padding, as a pack."""
    from navit_edge_export.preprocess import cumulative_lengths, index_tensors

    begin, end = int(whole.cu_seqlens[start]), int(whole.cu_seqlens[stop])
    lengths = np.diff(whole.cu_seqlens[start : stop + 1]).astype(np.int64)
    attention_index, token_index = index_tensors(lengths)
    return Pack(
        patches=whole.patches[begin:end],
        positions=whole.positions[begin:end],
        segment_ids=whole.segment_ids[begin:end] - np.int32(start),
        grid_hw=whole.grid_hw[start:stop],
        attention_index=attention_index,
        token_index=token_index,
        cu_seqlens=cumulative_lengths(lengths),
    )


@dataclass(frozen=True, kw_only=True)
class PackMaker:
    """Makes training packs of a dataset. A worker process has a copy. ``choice``: TokenDrop's."""

    dataset: Dataset
    patch_px: int
    prefix_tokens: int = 0
    augment: Augment = field(default_factory=Augment)
    mix: Mix = field(default_factory=Mix)
    choice: str = "uniform"
    seed: int = 0

    def __getitem__(self, spec: PackSpec) -> TrainingPack | None:
        """The pack, or None if no image of it could be decoded."""
        images: list[UInt8Array] = []
        specs: list[ImageSpec] = []
        unreadable: list[str] = []
        for image in spec.images:
            try:
                images.append(self._seen(image.example, image, spec, "augment"))
                specs.append(image)
            except InvalidInputError as error:
                unreadable.append(str(error))
        if not specs:
            return None
        images, targets = self._mixed(images, specs, spec)
        whole = pack(images, patch_px=self.patch_px, prefix_tokens=self.prefix_tokens)
        if self.choice != "attention":
            rng = generator(self.seed, "patches", *spec.number)
            chosen = [choose_patches(one.rows, one.columns, one.kept, self.choice, rng) for one in specs]
            if any(len(own) < one.rows * one.columns for own, one in zip(chosen, specs, strict=True)):
                whole = keep_tokens(whole, chosen)
        return TrainingPack(
            pack=whole, targets=targets, images=tuple(specs), number=spec.number, unreadable=tuple(unreadable)
        )

    def _seen(self, index: int, grid: ImageSpec, spec: PackSpec, purpose: str) -> UInt8Array:
        rng = generator(self.seed, purpose, spec.number[0], index)
        image = self.dataset.read(index)
        return self.augment.apply(image, grid.rows * self.patch_px, grid.columns * self.patch_px, rng)

    def _mixed(
        self, images: list[UInt8Array], specs: Sequence[ImageSpec], spec: PackSpec
    ) -> tuple[list[UInt8Array], npt.NDArray[np.float32]]:
        classes = len(self.dataset.class_names)
        labels = self.dataset.labels
        targets = np.zeros((len(images), classes), np.float32)
        targets[np.arange(len(images)), [labels[one.example] for one in specs]] = 1
        if not self.mix.is_on:
            return images, targets
        rng = generator(self.seed, "mix", *spec.number)
        mixed = list(images)
        for place, near in enumerate(partners([(one.rows, one.columns) for one in specs], rng)):
            own = generator(self.seed, "mix", *spec.number, place)
            other = int(own.integers(len(labels)))
            if own.random() >= self.mix.probability or (near is None and not self.mix.across):
                continue
            if near is not None:
                other, partner = specs[near].example, images[near]
            else:
                try:
                    partner = self._seen(other, specs[place], spec, "partner")
                except InvalidInputError:  # the image stays as it is
                    continue
            mixed[place], share = self.mix.apply(images[place], partner, self.patch_px, own)
            targets[place] *= share
            targets[place, labels[other]] += np.float32(1 - share)
        return mixed, targets


class Loader:
    """The packs of steps, in order, made by ``workers`` processes ahead of time (0: here, when they are asked for).

    The processes start with the first steps and serve until ``close``. None is a fork of this one, which has threads:
    each has a copy of ``maker``, and a program that has workers needs ``if __name__ == "__main__"``, as for
    ``multiprocessing``.
    """

    def __init__(self, maker: PackMaker, *, workers: int = 0) -> None:
        self._maker = maker
        self._specs: list[PackSpec] = []
        self._made = _in_processes(maker, self._specs, workers) if workers else None

    def packs(self, steps: Sequence[Step]) -> Iterator[tuple[Step, list[TrainingPack]]]:
        """Each step with its packs; one whose images all fail has none. Only one such iterator is in use at a time."""
        self._specs[:] = [spec for step in steps for spec in step.packs]
        made = iter(self._made) if self._made is not None else map(self._maker.__getitem__, self._specs)
        for step in steps:
            packs = [next(made) for _ in step.packs]
            yield step, [one for one in packs if one is not None]

    def close(self) -> None:
        """Ends the processes."""
        self._made = None


def _in_processes(maker: PackMaker, specs: list[PackSpec], workers: int) -> DataLoader[Any]:
    from multiprocessing import get_all_start_methods

    from torch.utils.data import DataLoader

    return DataLoader(
        maker,  # type: ignore[arg-type]
        sampler=specs,
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,
        persistent_workers=True,
        multiprocessing_context="forkserver" if "forkserver" in get_all_start_methods() else "spawn",
    )


def _unchanged(item: Any) -> Any:
    return item
