"""What clients may send by mistake or on purpose: strategies of hypothesis, and how many requests are drawn."""

from __future__ import annotations

import os
import random
import struct
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: In all, of each protocol: some hundred, 10,000 in `make test-serving`.
REQUESTS = int(os.environ.get("NAVIT_EDGE_FUZZ_REQUESTS", "200"))


def drawn(share: float) -> settings:
    """So many examples, the same in every run unless many are asked for."""
    return settings(
        max_examples=max(1, round(REQUESTS * share)),
        deadline=None,
        derandomize=REQUESTS < 1000,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


names = st.sampled_from(["images", "pixels", "shapes"]) | st.text(max_size=12)
outputs = st.sampled_from(["logits", "embedding", "tokens", "rows", "grid", "labels", "scores"]) | st.text(max_size=12)
datatypes = st.sampled_from(["BYTES", "UINT8", "INT64", "FP32", "FP16", ""]) | st.text(max_size=8)
extents = st.integers(0, 4) | st.sampled_from([-1, 3, 8, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63)])
shapes = st.lists(extents, max_size=5)
parameters = st.dictionaries(
    st.sampled_from(["deadline_ms", "priority", "policy", "timeout", "top_k", "classification", "binary_data_size"])
    | st.text(max_size=8),
    st.integers(-3, 1 << 40)
    | st.floats(width=32)
    | st.booleans()
    | st.text(max_size=8)
    | st.sampled_from(["fast", ""]),
    max_size=3,
)


def lengths(files: list[bytes]) -> bytes:
    """As BYTES lie in raw contents."""
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def contents(files: list[bytes]) -> st.SearchStrategy[bytes]:
    """What stands for raw contents: of what it should be, damaged, and anything."""
    return st.one_of(
        st.lists(st.sampled_from(files), max_size=3).map(lengths),
        st.sampled_from(files).flatmap(damaged),
        st.binary(max_size=64),
        st.integers(0, 200).map(bytes),
    )


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bits flipped, bytes cut out, doubled, put in."""
    found = bytearray(whole)
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    for _ in range(draw(st.integers(1, 4))):
        at, kind = rng.randrange(len(found) + 1), rng.randrange(4)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at : at + rng.choice((1, 2, 8, 1000))]
        elif kind == 2:
            found[at:at] = found[at : at + rng.choice((1, 4, 16))]
        else:
            found[at:at] = rng.randbytes(rng.choice((1, 2, 4, 10)))
    return bytes(found)


Values = dict[str, Any]
