"""Merging of tokens inside the model: which tokens of a pack may merge, and how many rows are left (docs/tokens.md).

Integers only, from the images' lengths alone. Letters: T tokens in a pack, N images, L longest image; after the merge M
rows and A rows of the longest image; G groups of at most W patches of one image, in row-major order. Tokens merge only
inside a group. ``csrc/src/pack/merge_layout.cc`` fills the same inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from navit_edge.errors import InvalidInputError

Int32Array = npt.NDArray[np.int32]

#: By what the tokens that merge are chosen (docs/tokens.md).
Method: TypeAlias = Literal["tome", "pitome"]
METHODS: tuple[Method, ...] = ("tome", "pitome")

#: Inputs of graphs that merge, beside those of every graph.
MERGE_INPUTS = (
    "merge_groups",
    "merge_counts",
    "merge_rows",
    "merge_slots",
    "merge_segment_ids",
    "merge_attention_index",
    "merge_token_index",
)

#: W at most: what is computed for a pair of tokens of a group takes memory of G * W^2.
MOST_GROUP = 256
#: Of the fraction that is kept: products with it stay exact in 32 bits.
MOST_DENOMINATOR = 1000
EXPECTED = "LAYER:KEEP or LAYER:KEEP:METHOD, as in 4:0.5, KEEP above 0 and at most 1, METHOD one of tome, pitome"


class Merging(msgspec.Struct, frozen=True, kw_only=True):
    """Behind the attention of block ``layer``, from 0, an image of n patches keeps ceil(kept / of * n) tokens."""

    layer: int
    kept: int  # kept / of is a fraction in lowest terms, above 0 and at most 1
    of: int
    group: int  # W
    method: Method

    @property
    def stride(self) -> int:
        """In a group each so many-th token is one that others merge into."""
        return -(-self.of // self.kept)

    @property
    def keep(self) -> float:
        return self.kept / self.of

    @property
    def slots(self) -> int:
        """Tokens that a group leaves, at most."""
        return min(self.group, -(-self.kept * self.group // self.of) + 1)

    def kept_of(self, patches: int) -> int:
        """Tokens that are left of an image's patches."""
        return -(-self.kept * patches // self.of)

    def group_sizes(self, patches: int) -> list[int]:
        """Patches of each group of an image: as few groups as can be, even ones, all but the last whole strides."""
        if patches == 0:
            return []
        count = -(-patches // self.group)
        size = -(-patches // (count * self.stride)) * self.stride
        return [min(size, patches - start) for start in range(0, patches, size)]

    def group_counts(self, patches: int) -> list[int]:
        """Tokens that each group of an image leaves; their sum is ``kept_of``."""
        ends = np.cumsum(self.group_sizes(patches), dtype=np.int64)
        # Rounded down, so that what is rounded up is the last group's; but no group leaves more than it has.
        left = np.maximum(self.kept * ends // self.of, self.kept_of(patches) - (patches - ends))
        return [int(count) for count in np.diff(left, prepend=0)]

    def shapes(self, prefix_tokens: int) -> dict[str, str]:
        """M, G and A as the manifest writes them: what a pack of T tokens and N images needs at most."""
        more = 1 + -(-prefix_tokens * (self.of - self.kept) // self.of)
        return {
            "M": f"T*{self.kept}/{self.of}+{more}N",
            "G": f"T*1/{self.group}+1N",
            "A": f"L*{self.kept}/{self.of}+{more}",
        }


def parse_merging(text: str, *, longest: int = MOST_GROUP) -> Merging:
    """From "4:0.5" or "4:0.5:tome". ``longest``: most patches of an image. Raises InvalidInputError."""
    layer, keep, *method = text.split(":") if text.count(":") in (1, 2) else ("", "")
    try:
        fraction = Fraction(keep).limit_denominator(MOST_DENOMINATOR)
        block = int(layer)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InvalidInputError(f'merge is "{text}"; expected {EXPECTED}') from None
    if not 0 < Fraction(keep) <= 1 or fraction <= 0:
        raise InvalidInputError(f"merge keeps {keep} of an image's tokens; expected more than 0 and at most 1")
    chosen = method[0] if method else "pitome"
    if chosen not in METHODS:
        raise InvalidInputError(f'the method of merging "{chosen}" is unknown; expected one of {", ".join(METHODS)}')
    stride = math.ceil(1 / fraction)
    whole = -(-min(longest, MOST_GROUP) // stride) * stride
    group = whole if whole <= MOST_GROUP else max(stride, MOST_GROUP // stride * stride)
    return Merging(layer=block, kept=fraction.numerator, of=fraction.denominator, group=max(group, 2), method=chosen)


def merge_inputs(
    merging: Merging,
    lengths: Sequence[int],
    *,
    prefix_tokens: int,
    tokens: int,
    longest: int,
) -> dict[str, Int32Array]:
    """MERGE_INPUTS of a pack.

    lengths: [N] tokens of each image, prefix tokens included; 0 of images without tokens. tokens: T, padding
        included. longest: L.

    ``merge_groups`` [G, W]: the pack row of each token of a group, -1 where there is none. ``merge_counts`` [G, 2]: how
    many a group leaves, and the row of the first of them after the merge. ``merge_rows`` [M]: where a row comes from: t
    for the token of row t (prefix tokens), T + slot for what a group leaves, group g's in slots g * S and on;
    ``Merging.slots`` is S. ``merge_slots`` [T]: g * W + w of a token that is in a group, else -1 - r of the row r that
    it becomes. The others are what segment_ids, attention_index and token_index are before the merge.
    """
    extents = extents_of(merging, prefix_tokens, tokens=tokens, images=len(lengths), longest=longest)
    m, g, a = (extents[letter] for letter in ("M", "G", "A"))
    width, slots = merging.group, merging.slots
    groups = np.full((g, width), -1, np.int32)
    counts = np.zeros((g, 2), np.int32)
    rows = np.full(m, tokens, np.int32)
    slot_of = np.full(tokens, -1, np.int32)
    segments = np.full(m, len(lengths), np.int32)
    attention = np.full((len(lengths), a), -1, np.int32)
    token_index = np.zeros(m, np.int32)
    group = first = row = 0
    for image, length in enumerate(lengths):
        if length == 0:
            continue
        start = row
        for token in range(first, first + prefix_tokens):
            rows[row], slot_of[token] = token, -1 - row
            row += 1
        token = first + prefix_tokens
        patches = length - prefix_tokens
        for size, left in zip(merging.group_sizes(patches), merging.group_counts(patches), strict=True):
            groups[group, :size] = np.arange(token, token + size)
            slot_of[token : token + size] = group * width + np.arange(size)
            counts[group] = left, row
            rows[row : row + left] = tokens + group * slots + np.arange(left)
            group, token, row = group + 1, token + size, row + left
        own = row - start
        segments[start:row] = image
        attention[image, :own] = np.arange(start, row)
        token_index[start:row] = image * a + np.arange(own)
        first += length
    return dict(zip(MERGE_INPUTS, (groups, counts, rows, slot_of, segments, attention, token_index), strict=True))


def extents_of(merging: Merging, prefix_tokens: int, *, tokens: int, images: int, longest: int) -> dict[str, int]:
    """M, G and A of a pack."""
    letters = {"T": tokens, "N": images, "L": longest}
    return {name: extent_of(word, letters) for name, word in merging.shapes(prefix_tokens).items()}


def extent_of(word: str, letters: dict[str, int]) -> int:
    """The extent that a word of ``Merging.shapes`` stands for: "T*1/2+3N" is T * 1 // 2 + 3 * N."""
    letter, _, rest = word.partition("*")
    times, _, rest = rest.partition("/")
    parts, _, more = rest.partition("+")
    added = int(more[:-1]) * letters["N"] if more.endswith("N") else int(more)
    return letters[letter] * int(times) // int(parts) + added
