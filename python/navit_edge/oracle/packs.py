"""What goes into a graph, and whose rows of its outputs are whose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from navit_edge.bundle.manifest import TensorSpec

Array = npt.NDArray[np.float32]
#: What goes into a graph, by name; what comes out, by name.
Inputs = Mapping[str, npt.NDArray[np.generic]]
Values = dict[str, Array]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One image of a pack."""

    name: str  # of its file
    first: int  # row of its first token
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Pack:
    """The inputs of one pass."""

    inputs: dict[str, npt.NDArray[np.generic]]
    segments: tuple[Segment, ...]
    merged: frozenset[int] = frozenset({1})  # patches that a row may stand for, behind a merger more than one

    def rows_of_images(self, values: Array, *, behind_merge: bool = False) -> list[Array]:
        """What a value inside the graph, [rows, D], holds of each image; nothing if its rows are no tokens.

        behind_merge: A row is a token that a merge inside the model has left (``navit_edge.bundle.merging``).
        """
        if values.ndim != 2:
            return []
        if behind_merge:
            return self._left_of_images(values)
        tokens = len(self.inputs["patches"])
        merged = next((count for count in sorted(self.merged) if len(values) * count == tokens), 0)
        if not merged:
            return []
        ends = [(one.first // merged, (one.first + one.tokens) // merged) for one in self.segments]
        return [values[first:end] for first, end in ends]

    def _left_of_images(self, values: Array) -> list[Array]:
        """Rows behind a merge: those of an image end where those of its last group do."""
        if len(values) != len(self.inputs["merge_rows"]):
            return []
        tokens = np.asarray(self.inputs["merge_groups"])[:, 0]
        used = tokens >= 0
        first_tokens = [one.first for one in self.segments]
        image = np.searchsorted(first_tokens, tokens[used], side="right") - 1
        ends = np.zeros(len(self.segments), np.int64)
        np.maximum.at(ends, image, np.asarray(self.inputs["merge_counts"])[used].sum(axis=1))
        return np.split(values[: ends[-1]], ends[:-1])

    def used_rows(self) -> npt.NDArray[np.bool_]:
        """[T]: which rows are tokens of an image, and not padding. Every graph reads one of the two inputs."""
        if "segment_ids" in self.inputs:
            return np.asarray(self.inputs["segment_ids"]).astype(np.int64) < len(self.segments)
        index = np.asarray(self.inputs["attention_index"]).astype(np.int64)
        used = np.zeros(len(self.inputs["patches"]), np.bool_)
        used[index[index >= 0]] = True
        return used

    def by_image(self, spec: TensorSpec, value: Array) -> Iterator[Array]:
        """The part of an output that belongs to each image; padding belongs to none."""
        for index, segment in enumerate(self.segments):
            merged = spec.patches_per_row
            if not merged:
                yield value[index]
                continue
            yield value[segment.first // merged : (segment.first + segment.tokens) // merged]
