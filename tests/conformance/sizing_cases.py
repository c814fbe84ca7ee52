"""The sizes and the sizing rules that tests of sizing try."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.bundle.sizing_rule import Sizing, to_json

Sizes = npt.NDArray[np.int32]
COUNT = 12_000
EXTREME = [
    (1, 1), (1, 4000), (4000, 1), (1, 200), (200, 1), (1, 201), (3, 600), (65535, 65535), (1, 65535), (65535, 1),
    (16, 16), (15, 17), (8, 24), (24, 8), (14, 42), (28, 28), (42, 70), (4096, 64), (16, 4096), (2, 3),
]  # fmt: skip


def random_sizes(seed: int) -> Sizes:
    """[COUNT, 2] (height_px, width_px): extremes, then sides that are uniform, then log-uniform."""
    rng = np.random.default_rng(seed)
    half = (COUNT - len(EXTREME)) // 2
    uniform = rng.integers(1, 4001, (half, 2))
    skewed = np.exp(rng.uniform(0, np.log(30_000), (COUNT - len(EXTREME) - half, 2))).astype(np.int64)
    return np.concatenate([np.array(EXTREME), uniform, np.maximum(skewed, 1)]).astype(np.int32)


def in_cpp(sizes: Sizes, patch_px: int, sizing: Sizing, cap: int = 0) -> Sizes:
    return _core.resize_targets(sizes, patch_px=patch_px, sizing=to_json(sizing), max_tokens_per_image=cap)


EXAMPLES = {
    "token-cap": Sizing(rule="token-cap", max_tokens=64, upscale=True),
    "native": Sizing(rule="native"),
    "native-pad": Sizing(rule="native", fit="pad", pad_rgb=(124, 116, 104)),
    "native-crop": Sizing(rule="native", fit="crop"),
    "naflex": Sizing(rule="naflex", max_tokens=100),
    "smart-resize": Sizing(rule="smart-resize", merge=2, min_pixels=3136, max_pixels=50_000),
    "smart-resize-enlarged": Sizing(
        rule="smart-resize", merge=2, min_pixels=3136, max_pixels=50_000, enlarge="nearest"
    ),
    "longest-side": Sizing(rule="longest-side", longest_px=100),
    "longest-side-merged": Sizing(rule="longest-side", longest_px=100, merge=2),
    "navit-resize": Sizing(rule="navit-resize", max_tokens=1000, longest_px=640, merge=2, pad_rgb=(9, 8, 7)),
    "patch-budget": Sizing(rule="patch-budget", merge=3, max_tokens=630),
    "fixed": Sizing(rule="fixed", height_px=64, width_px=96),
}
