"""Stubs of the C++ runtime (csrc/bindings)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__version__: str

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
    def token_count(self) -> int: ...
    @property
    def pack(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def error(self) -> Exception | None: ...

class Session:
    def __init__(
        self,
        bundle: str,
        *,
        device: str,
        engine: str,
        precision: str,
        threads: int,
        max_tokens_per_image: int,
        backend_dirs: Sequence[str],
        vendor_dirs: Sequence[str],
        options: dict[str, str],
    ) -> None: ...
    def run(self, images: list[npt.NDArray[np.uint8] | None]) -> tuple[list[Result], dict[str, Any]]: ...
    @property
    def engine(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def device(self) -> str: ...
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

def check_image(image: object, who: str) -> None: ...
def resize_target(height_px: int, width_px: int, *, patch_px: int, rule: str, max_tokens: int) -> tuple[int, int]: ...
def plan(
    token_counts: Sequence[int], *, token_budgets: Sequence[int], max_images: int, strategy: str
) -> list[list[int]]: ...
def resize(image: npt.NDArray[np.uint8], size: tuple[int, int], filter: str = "bilinear") -> npt.NDArray[np.uint8]: ...
