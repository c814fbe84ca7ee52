"""Running a bundle from Python: images of any size in, one result per image out.

Python arranges, C++ computes: ``pixels.py`` turns arrays, PIL images and paths into pixels that C++ borrows; planning,
packing, the engine and unpacking are in ``csrc/src/session.cc``.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from navit_edge import _core
from navit_edge.errors import InvalidInputError, NavitEdgeError
from navit_edge.pixels import as_pixels
from navit_edge.planning import Strategy
from navit_edge.vendor_libraries import tensorrt_directories

if TYPE_CHECKING:
    from navit_edge.pixels import ImageLike

Result = _core.Result
Overflow: TypeAlias = Literal["error", "downscale", "split"]


def _openvino_libs() -> list[Path]:
    """Where the openvino wheel keeps its libraries, found without importing it."""
    from importlib.util import find_spec

    spec = find_spec("openvino")
    if spec is None or spec.origin is None:
        return []
    return [Path(spec.origin).parent / "libs"]


class Session:
    """An opened bundle. Thread-safe: the packs of concurrent ``run`` calls take turns.

    bundle: the ``.navit`` directory.
    device: "auto" (a GPU where an engine can use one, else the CPU), "cpu" or "gpu".
    engine: the id of one engine of the bundle, or of a group of engines (one for each token budget); never replaced by
        another.
    precision: "auto" or "fp32", "fp16", "bf16", "int8", "fp8": only engines of that precision.
    threads: CPU threads in all; 0 takes every core the process may use.
    slots: packs in flight at once; an engine that cannot open so many is an error. 0, the default: on a GPU two, or one
        where two do not open (``candidates`` then says why); on a CPU one with all cores, and two while two packs wait.
    max_tokens_per_image: most patches of an image; lowers what the bundle's sizing rule gives, never raises it
        (docs/preprocessing.md); 0 leaves the rule as it is.
    strategy: which images share a pack: "auto" (the least predicted time), or a name of ``navit_edge.plan``.
    overflow: what becomes of an image that is longer than every budget: "error" (it fails with OverBudgetError) or
        "downscale" (it is resized to the largest grid that fits; ``result.reason`` says so).
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
        slots: int = 0,
        max_tokens_per_image: int = 0,
        strategy: Strategy = "auto",
        overflow: Overflow = "error",
        backend_dirs: Sequence[str | os.PathLike[str]] = (),
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._core = _core.Session(
            os.fspath(bundle),
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
            slots=slots,
            max_tokens_per_image=max_tokens_per_image,
            strategy=strategy,
            overflow=overflow,
            backend_dirs=[os.fspath(path) for path in backend_dirs],
            vendor_dirs=[os.fspath(path) for path in _openvino_libs()],
            options={"tensorrt_wheels": ":".join(map(os.fspath, tensorrt_directories()))} | dict(options or {}),
        )
        #: What the last ``run`` did: {"packs": [...], "most_in_flight": ..., "total_us": ..., "predicted_us": ...,
        #: "cost_measured": ...}; of each pack also the engine and the slot that ran it.
        self.last_report: dict[str, Any] = {
            "packs": [],
            "most_in_flight": 0,
            "total_us": 0.0,
            "predicted_us": 0.0,
            "cost_measured": False,
        }
        self._budgets_seen: set[int] = set()
        self._warned: set[str] = set()

    def run(self, images: Sequence[ImageLike], *, on_error: Literal["raise", "return"] = "raise") -> list[Result]:
        """Runs images of any size; returns one result per image, in input order.

        images: numpy uint8 arrays [height_px, width_px, 3] (RGB), [height_px, width_px, 4] (RGBA) or
            [height_px, width_px] (gray), of any row stride; ``navit_edge.Pixels`` for BGR, NV12 and other formats; PIL
            images of mode RGB, RGBA or L; or paths. Arrays are read where they lie.
        on_error: "raise" raises the first failing image's error; "return" sets ``result.error`` for it alone and
            completes the rest.

        Each result has ``logits`` [classes], ``embedding`` [D] and ``tokens`` [rows * cols, D] (float32, read-only;
        None where the bundle does not offer it), ``grid`` (rows, cols), ``token_count``, ``pack``, ``latency_ms``, and
        ``reason`` where it had to be scaled down to fit a budget ("" otherwise).
        The image's point (y, x), in pixels, lies at (y, x) * ``scale`` + ``offset`` on the grid * patch pixels.
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
        self._warn_of_fallbacks()
        for index, refusal in refused.items():
            results[index] = _core.Result.failed(refusal)
        if on_error == "raise":
            for result in results:
                if result.error is not None:
                    raise result.error
        return results

    def _warn_of_fallbacks(self) -> None:
        """A RuntimeWarning, once, where the engine does otherwise than it was meant to; the first pack of each budget
        shows it."""
        budgets = {int(pack["budget_tokens"]) for pack in self.last_report["packs"]}
        if budgets <= self._budgets_seen:
            return
        self._budgets_seen |= budgets
        for text in self.engine_report.get("warnings", []):
            if text not in self._warned:
                self._warned.add(text)
                warnings.warn(f"engine {self.engine}: {text}", RuntimeWarning, stacklevel=3)

    @property
    def engine_report(self) -> dict[str, Any]:
        """What the opened engine says of itself: library and version, device, slots, host memory, and for TensorRT the
        arena and the CUDA graph of each budget ("captured", "not yet", "off: ...", "fallback: ..."), for OpenVINO
        precisions, streams and threads. ``warnings`` lists what it does otherwise than it was meant to. Of a
        group: {"engines": {id: report}, "warnings": [...]}."""
        report: dict[str, Any] = json.loads(self._core.engine_report().decode("utf-8", "replace"))
        return report

    @property
    def engine(self) -> str:
        """Id of the engine or the group of engines in use."""
        return self._core.engine

    @property
    def precision(self) -> str:
        """Precision of the engine in use."""
        return self._core.precision

    @property
    def slots(self) -> int:
        """How many packs may be in flight at once."""
        return self._core.slots

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
        """(engine or group id, usable, the device or why not) of all that were considered, in order.

        Where the one in use has one slot because two did not open, that follows the device.
        """
        return self._core.candidates

    def __repr__(self) -> str:
        return f"<navit_edge.Session engine={self.engine!r} device={self.device!r}>"
