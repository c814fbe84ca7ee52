"""Frames of a film for a bundle of Qwen's line that was exported with ``--frames 2``: pairs, sizes, times.

    clip = video.make_clip(frames, navit_edge.load_manifest(bundle), fps=24.0, indices=range(0, 240, 12))
    results = session.run(clip.pairs)
    embeds = {"video_embeds": for_vllm(results)["image_embeds"], "video_grid_thw": clip.video_grid_thw}

As the video processors of transformers do it (``Qwen2VLVideoProcessor``, ``Qwen3VLVideoProcessor``): which frames of a
film are taken is up to the caller (``indices``); all get one size, resized with torchvision's bits; an odd count is
padded with the last frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Manifest

Frame = npt.NDArray[np.uint8]
_MOST_ASPECT = 200


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a session takes of a film, and what its language model is told beside the embeddings.

    pairs: Each holds two frames, the second of the last one possibly the first once more. A session takes them as
        images, and gives a result for each.
    grid: Rows and columns of each, in patches.
    timestamps: Seconds of each pair, the mean of its frames': Qwen3-VL writes them into the prompt ("<1.2 seconds>").
    second_per_grid: Seconds from pair to pair, where frames are evenly spaced: ``second_per_grid_ts`` of Qwen2.5-VL.
    """

    pairs: list[_core.Pixels]
    grid: tuple[int, int]
    timestamps: tuple[float, ...]
    second_per_grid: float

    @property
    def video_grid_thw(self) -> npt.NDArray[np.int64]:
        """[1, 3]: pairs, rows, columns, as transformers and vLLM take it."""
        return np.array([(len(self.pairs), *self.grid)], np.int64)


def make_clip(
    frames: Sequence[Frame], manifest: Manifest, *, fps: float = 24.0, indices: Sequence[int] | None = None
) -> Clip:
    """frames: uint8 [height_px, width_px, 3], all of one size, in order. fps: of the film. indices: which of its frames
    these are; 0, 1, 2, ... if not given.

    Raises InvalidInputError: The bundle takes images; frames of several sizes; none, or, if the family limits pixels of
        the whole film, one.
    """
    config = manifest.model.config
    if manifest.frames != 2 or "video_max_pixels" not in config:
        raise InvalidInputError(
            f"the bundle {manifest.name} takes images; expected one that takes frames in pairs; export Qwen2-VL, "
            "Qwen2.5-VL or Qwen3-VL with --frames 2"
        )
    numbers = list(range(len(frames)) if indices is None else indices)
    sizes = {tuple(np.shape(frame)[:2]) for frame in frames}
    if len(sizes) != 1 or len(numbers) != len(frames) or not fps > 0:
        raise InvalidInputError(
            f"a film has {len(frames)} frames of {len(sizes)} sizes, {len(numbers)} indices and {fps} frames a second; "
            "expected one frame or more, all of one size, an index for each, and a rate above 0"
        )
    patch_px = manifest.preprocess.patch_px
    height_px, width_px = _size_of(sizes.pop(), len(frames), config, factor=2 * patch_px)
    resized = [
        _core.resize(frame, (height_px, width_px), manifest.preprocess.filter, "torchvision") for frame in frames
    ]
    spacing = (numbers[-1] - numbers[0]) / max(len(numbers) - 1, 1) or 1.0
    if len(resized) % 2:
        resized.append(resized[-1])
        numbers.append(numbers[-1])
    times = [number / fps for number in numbers]
    return Clip(
        pairs=[_core.Pixels.pair(*resized[first : first + 2]) for first in range(0, len(resized), 2)],
        grid=(height_px // patch_px, width_px // patch_px),
        timestamps=tuple((times[first] + times[first + 1]) / 2 for first in range(0, len(times), 2)),
        second_per_grid=2 * spacing / fps,
    )


def _size_of(size: tuple[int, ...], count: int, config: dict[str, Any], *, factor: int) -> tuple[int, int]:
    """``smart_resize`` of transformers: multiples of ``factor`` pixels; the limits are of a frame (Qwen2-VL and
    Qwen2.5-VL) or of all frames together (Qwen3-VL)."""
    height, width = size
    film = config["video_budget"] == "film"
    low, high = config["video_min_pixels"], config["video_max_pixels"]
    if film and count < 2:
        raise InvalidInputError("a film has 1 frame; this family takes 2 and up; give the frame as an image")
    if film and min(height, width) < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) / min(height, width) > _MOST_ASPECT:
        raise InvalidInputError(
            f"frames are {height}x{width} pixels; expected an aspect of at most {_MOST_ASPECT}; crop them"
        )
    rows, columns = round(height / factor), round(width / factor)
    pairs = round(count / 2) * 2 if film else 1
    frames = count if film else 1
    if pairs * rows * columns * factor**2 > high:
        beta = math.sqrt(frames * height * width / high)
        rows = max(1, math.floor(height / beta / factor))
        columns = max(1, math.floor(width / beta / factor))
    elif pairs * rows * columns * factor**2 < low:
        beta = math.sqrt(low / (frames * height * width))
        rows, columns = math.ceil(height * beta / factor), math.ceil(width * beta / factor)
    if not rows or not columns:
        raise InvalidInputError(
            f"frames are {size[0]}x{size[1]} pixels, which leaves no row or column of {factor} pixels; scale them up"
        )
    return rows * factor, columns * factor
