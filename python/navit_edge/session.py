"""Running a bundle from Python: images of any size in, one result per image out.

Python arranges, C++ computes: ``pixels.py`` turns arrays, PIL images and paths into pixels that C++ borrows; planning,
packing, the engine and unpacking are in ``csrc/src/session.cc``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import as_pixels

if TYPE_CHECKING:
    from navit_edge.pixels import ImageLike

Result = _core.Result


def _openvino_libs() -> list[Path]:
    """Where the openvino wheel keeps its libraries, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("openvino")
    if spec is None or spec.origin is None:
        return []
    return [Path(spec.origin).parent / "libs"]


class Session:
    """An opened bundle. Thread-safe: concurrent ``run`` calls take turns.

    bundle: the ``.navit`` directory.
    device: "auto" (a GPU where an engine can use one, else the CPU), "cpu" or "gpu".
    engine: the id of one engine of the bundle; never replaced by another.
    precision: "auto" or "fp32", "fp16", "bf16": only engines of that precision.
    threads: CPU threads in all; 0 takes every core the process may use.
    max_tokens_per_image: lowers the bundle's cap on patch tokens per image; 0 leaves it.
    backend_dirs: searched for backend libraries before the usual places.
    options: handed to the backend as they are.

    Raises BundleError where the bundle is missing, altered or of another schema, and BackendError where no engine can
    run here; the message lists each engine with its reason.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        device: str = "auto",
        engine: str = "",
        precision: str = "auto",
        threads: int = 0,
        max_tokens_per_image: int = 0,
        backend_dirs: Sequence[str | os.PathLike[str]] = (),
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._core = _core.Session(
            os.fspath(bundle),
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
            max_tokens_per_image=max_tokens_per_image,
            backend_dirs=[os.fspath(path) for path in backend_dirs],
            vendor_dirs=[os.fspath(path) for path in _openvino_libs()],
            options=dict(options or {}),
        )
        #: What the last ``run`` did: {"packs": [...], "total_us": ...}.
        self.last_report: dict[str, Any] = {"packs": [], "total_us": 0.0}

    def run(self, images: Sequence[ImageLike], *, on_error: Literal["raise", "return"] = "raise") -> list[Result]:
        """Runs images of any size; returns one result per image, in input order.

        images: numpy uint8 arrays [height_px, width_px, 3] (RGB), [height_px, width_px, 4] (RGBA) or
            [height_px, width_px] (gray), of any row stride; ``navit_edge.Pixels`` for BGR, NV12 and other formats; PIL
            images of mode RGB, RGBA or L; or paths. Arrays are read where they lie.
        on_error: "raise" raises the first failing image's error; "return" sets ``result.error`` for it alone and
            completes the rest.

        Each result has ``logits`` [classes], ``embedding`` [D] and ``tokens`` [rows * cols, D] (float32, read-only;
        None where the bundle does not offer it), ``grid`` (rows, cols), ``token_count``, ``pack`` and ``latency_ms``.
        Raises InvalidInputError, OverBudgetError or BackendError.
        """
        if isinstance(images, (str, os.PathLike, np.ndarray)) or not isinstance(images, Sequence):
            kind = type(images).__name__
            raise InvalidInputError(f"images is of type {kind}; expected a list of images: run([image])")
        if on_error not in ("raise", "return"):
            raise InvalidInputError(f'on_error is {on_error!r}; expected "raise" or "return"')
        if len(images) == 0:
            raise InvalidInputError("images is empty; expected at least one image; skip the call where there is none")
        pixels: list[npt.NDArray[np.uint8] | _core.Pixels | None] = []
        refused: dict[int, NavitEdgeError] = {}
        for index, image in enumerate(images):
            try:
                pixels.append(as_pixels(image, f"image {index}"))
            except NavitEdgeError as error:
                if on_error == "raise":
                    raise
                pixels.append(None)
                refused[index] = error
        results, self.last_report = self._core.run(pixels)
        for index, refusal in refused.items():
            results[index] = _core.Result.failed(refusal)
        if on_error == "raise":
            for result in results:
                if result.error is not None:
                    raise result.error
        return results

    @property
    def engine(self) -> str:
        """Id of the engine in use."""
        return self._core.engine

    @property
    def precision(self) -> str:
        """Precision of the engine in use."""
        return self._core.precision

    @property
    def device(self) -> str:
        """What runs it, in words."""
        return self._core.device

    @property
    def labels(self) -> list[str]:
        """Class names, where the bundle has any."""
        return self._core.labels

    @property
    def candidates(self) -> list[tuple[str, bool, str]]:
        """(engine id, usable, the device or why not) of every engine that was considered, in order."""
        return self._core.candidates

    def __repr__(self) -> str:
        return f"<navit_edge.Session engine={self.engine!r} device={self.device!r}>"
