"""Random generators keyed by what they draw: the same key, the same numbers, whatever was drawn before."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """A generator of its own for ``purpose`` and ``key``, such as an epoch and the index of an image."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, zlib.crc32(purpose.encode()), *key))))
