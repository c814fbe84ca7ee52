"""Stubs of the C++ runtime (csrc/bindings)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str
backend_abi_version: int

class Result:
    @staticmethod
    def failed(error: Exception) -> Result: ...
    @property
    def logits(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def embedding(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def tokens(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def pixels(self) -> tuple[int, int]: ...
    @property
    def grid(self) -> tuple[int, int]: ...
    @property
    def scale(self) -> tuple[float, float]: ...
    @property
    def offset(self) -> tuple[int, int]: ...
    @property
    def token_count(self) -> int: ...
    @property
    def pack(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def reason(self) -> str: ...
    @property
    def error(self) -> Exception | None: ...

class Pixels:
    """8-bit pixels whose format an array's shape does not say. Borrows the arrays, any row stride; copies nothing.

    planes: uint8 [height_px, width_px, channels], or [height_px, width_px] for "gray". For "nv12" (y, uv), for "i420"
        (y, u, v), planes [h, w] and [(h + 1) // 2, (w + 1) // 2(, 2)]; or one array [3 * h // 2, w] with even sides.
    format: "gray", "rgb", "bgr", "rgbx", "bgrx", "rgba", "bgra", "nv12" or "i420"; "x" is a byte that is not looked at.
    matrix, range: of NV12 and I420: "bt601" or "bt709"; "limited" (video) or "full" (JPEG).

    Raises InvalidInputError where an array is not what the format says.
    """

    def __init__(
        self,
        planes: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8]],
        format: str,
        *,
        matrix: str = "bt601",
        range: str = "limited",
    ) -> None: ...
    @staticmethod
    def from_arrow(image: object, height_px: int, width_px: int, format: str) -> Pixels: ...
    @property
    def height_px(self) -> int: ...
    @property
    def width_px(self) -> int: ...
    @property
    def format(self) -> str: ...

class Session:
    def __init__(
        self,
        bundle: str,
        *,
        device: str,
        engine: str,
        precision: str,
        threads: int,
        slots: int,
        max_tokens_per_image: int,
        strategy: str,
        overflow: str,
        backend_dirs: Sequence[str],
        vendor_dirs: Sequence[str],
        options: dict[str, str],
    ) -> None: ...
    def run(self, images: list[npt.NDArray[np.uint8] | Pixels | None]) -> tuple[list[Result], dict[str, Any]]: ...
    @property
    def engine(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def slots(self) -> int: ...
    @property
    def device(self) -> str: ...
    def engine_report(self) -> bytes: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def candidates(self) -> list[tuple[str, bool, str]]: ...

class Packer:
    def __init__(
        self,
        bundle: str,
        graph: str,
        *,
        max_tokens: int,
        max_images: int,
        target_tokens: int,
        strategy: str,
        dynamic_tokens: bool,
        threads: int,
    ) -> None: ...
    def tokens_of(self, height_px: int, width_px: int) -> int: ...
    def pack(self, images: list[npt.NDArray[np.uint8]]) -> list[dict[str, Any]]: ...

class PatchWriter:
    """``patches`` of a pack alone, as a session writes them. For benchmarks and tests."""

    def __init__(
        self, patch_px: int, filter: str, alpha: str, background: tuple[int, int, int], threads: int
    ) -> None: ...
    def write(
        self, images: list[npt.NDArray[np.uint8] | Pixels], grids: Sequence[tuple[int, int]]
    ) -> npt.NDArray[np.uint8]:
        """uint8 [T, F] in the writer's own memory: valid until the next call."""

def check_image(image: object, who: str) -> None: ...
def resize_targets(
    sizes: npt.NDArray[np.int32], *, patch_px: int, sizing: str, max_tokens_per_image: int = 0
) -> npt.NDArray[np.int32]: ...
def plan(
    token_counts: Sequence[int],
    *,
    budgets: Sequence[tuple[int, int, int, int]],
    strategy: str,
    base: str,
    cost: Sequence[tuple[float, float, float]],
    attention: str,
    dynamic_tokens: bool,
    streams: int,
    deadlines_us: Sequence[float],
) -> dict[str, Any]: ...
def cost_model(bundle: str, engine: str) -> dict[str, Any]: ...
def memory_plan(bundle: str, engine: str, *, threads: int) -> list[tuple[int, int, int, int, int]]: ...

spare_outputs: int

def assumed_cost(*, width: int, depth: int, mlp_width: int, target: str) -> tuple[float, float, float]: ...
def pack(
    images: list[npt.NDArray[np.uint8]],
    *,
    grids: Sequence[tuple[int, int]],
    patch_px: int,
    prefix_tokens: int,
    filter: str,
    pad_tokens: int,
    pad_images: int,
    sizing: str,
    alpha: str,
    background: tuple[int, int, int],
    threads: int,
) -> dict[str, npt.NDArray[Any]]: ...
def resize(
    image: npt.NDArray[np.uint8] | Pixels, size: tuple[int, int], filter: str = "bilinear"
) -> npt.NDArray[np.uint8]: ...
def to_rgb(
    image: npt.NDArray[np.uint8] | Pixels, alpha: str, background: tuple[int, int, int]
) -> npt.NDArray[np.uint8]: ...
