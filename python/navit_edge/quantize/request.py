"""What the caller asks for, checked as far as it can be without the bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from navit_edge.decode import DecodeOptions
from navit_edge.errors import InvalidInputError

PRECISIONS = ("int8", "fp8")
#: How the largest value that a scale covers is chosen from what was seen (``calibration.py``).
METHODS = ("minmax", "percentile", "mse", "entropy")
AUTO = "auto"
OFF = "off"


@dataclass(frozen=True, kw_only=True)
class QuantizeRequest:
    """Options of quantize.

    Attributes:
        calibration: Directory of images, searched with its subdirectories.
        precision: "int8" or "fp8".
        method: One of METHODS.
        percentile: With "percentile": how many per cent of the magnitudes a scale covers.
        holdout: Fraction of the images that is kept out of calibration, to judge by; or a directory of other images.
        max_images: Most images to calibrate with; of more, evenly spaced ones are taken.
        skip_layers: Names or patterns (``blocks.0.*``) of layers to leave in float, or ("auto",): the layers that cost
            most, by a scan, until ``tolerance`` is met.
        skip_count: With "auto": exactly this many of the worst layers instead.
        tolerance: With "auto": the largest error that is allowed, as the root mean square of the difference over that
            of the float32 output; the worst output counts.
        scan_images: With "auto": images that the scan runs, the first of the calibration images.
        smooth: Whether activations are smoothed into constants first (``smoothing.py``): "auto", with what suits each
            layer best, if the calibration images lose less then; "off"; or one strength for all layers, 0 to 1.
        decode: How images are decoded, as of a session.
        force: Quantize even if the bundle holds the same already.
    """

    calibration: Path
    precision: str = "int8"
    method: str = "minmax"
    percentile: float = 99.99
    holdout: float | Path = 0.25
    max_images: int = 128
    skip_layers: tuple[str, ...] = ()
    skip_count: int | None = None
    tolerance: float = 0.05
    scan_images: int = 8
    smooth: str | float = AUTO
    decode: DecodeOptions | None = None
    force: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidInputError, naming what is known."""
        if self.precision not in PRECISIONS:
            raise InvalidInputError(f"precision {self.precision!r} to quantize to; known: {', '.join(PRECISIONS)}")
        if self.method not in METHODS:
            raise InvalidInputError(f"unknown calibration method {self.method!r}; known: {', '.join(METHODS)}")
        if self.method == "entropy" and self.precision == "fp8":
            raise InvalidInputError(
                "method entropy with fp8, whose levels are not evenly spaced as entropy takes them to be; use minmax, "
                "percentile or mse"
            )
        if not 0 < self.percentile <= 100:
            raise InvalidInputError(f"percentile {self.percentile:g}; expected above 0 and at most 100, such as 99.99")
        if not isinstance(self.holdout, Path) and not 0 <= self.holdout <= 0.9:
            raise InvalidInputError(
                f"holdout {self.holdout:g}; expected a fraction from 0 to 0.9, or a directory of other images"
            )
        for name in ("max_images", "scan_images"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name.replace('_', ' ')} {getattr(self, name)}; expected 1 and up")
        if AUTO in self.skip_layers and len(self.skip_layers) > 1:
            raise InvalidInputError(
                f"skip layers {','.join(self.skip_layers)}; expected auto alone, or names and patterns of layers"
            )
        if self.skip_count is not None and (not self.auto or self.skip_count < 0):
            raise InvalidInputError(f"skip count {self.skip_count}; expected 0 and up, with --skip-layers auto")
        if self.smooth not in (AUTO, OFF) and (isinstance(self.smooth, str) or not 0 <= self.smooth <= 1):
            raise InvalidInputError(
                f"smooth {self.smooth}; expected {AUTO}, {OFF}, or a strength from 0 to 1, such as 0.5"
            )
        if not 0 < self.tolerance < 1:
            raise InvalidInputError(f"tolerance {self.tolerance:g}; expected above 0 and below 1, such as 0.05")

    @property
    def auto(self) -> bool:
        """Whether a scan decides which layers are skipped."""
        return self.skip_layers == (AUTO,)
