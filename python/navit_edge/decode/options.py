"""How image files are decoded: what a caller says, and what a bundle records."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from navit_edge.decode.formats import FORMATS, checked_formats
from navit_edge.errors import InvalidInputError
from navit_edge.vocabulary import DECODES, ICC_RULES, ORIENTATIONS, WHITE, AlphaRule, Decode, Icc, Orientation

if TYPE_CHECKING:
    from navit_edge.bundle.manifest import Preprocess


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a bundle's ``preprocess`` says of the way from a file to pixels; the defaults are those of a call without a
    bundle. alpha and background are applied by the C++ core; they stand here so that results can say what was done."""

    orientation: Orientation = "apply"
    icc: Icc = "ignore"
    decode: Decode = "exact"
    alpha: AlphaRule = "drop"
    background: tuple[int, int, int] = WHITE

    @staticmethod
    def of(preprocess: Preprocess) -> Recorded:
        """That of a manifest, which has been checked."""
        from navit_edge.bundle.manifest import decode_of

        return Recorded(
            orientation=preprocess.orientation,
            icc=preprocess.icc,
            decode=decode_of(preprocess),
            alpha=preprocess.alpha,
            background=preprocess.background,
        )


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """How image files and PIL images become pixels (docs/inputs.md).

    formats: Pillow's names of the formats that are decoded, found by what a file holds, not by its name. More:
        ``(*navit_edge.decode.FORMATS, "TGA")``. Formats that start programs or are interpreters are refused.
    orientation: "apply" turns images upright by their EXIF or container; "as-decoded" does what the decoder does by
        itself, which turns TIFF and HEIC alone. None: as the bundle says.
    icc: "srgb" converts images with an ICC profile to sRGB; "ignore" reads their values as they are. None: as the
        bundle says.
    jpeg: "exact" decodes all of a JPEG file's pixels; "scaled", for a session, only as many of its frequencies as give
        at least twice the sides that it is resized to: faster, and other pixels (docs/inputs.md). None: as the bundle
        says.
    max_pixels: most pixels of an image, checked by its header before memory is taken for them.
    max_file_bytes: most bytes of an image file.
    max_frames: most frames of a file, if its header says how many there are.
    max_bytes_in_flight: most bytes of decoded pixels that ``Session.stream`` holds, and the same of the files that are
        submitted, from before they are decoded until they have been read; one image is always let in.
    max_run_bytes: most bytes of pixels that ``Session.run`` decodes for one call, which holds all of them at once.

    Raises InvalidInputError for values that make no sense.
    """

    formats: tuple[str, ...] = FORMATS
    orientation: Orientation | None = None
    icc: Icc | None = None
    jpeg: Decode | None = None
    max_pixels: int = 1 << 28
    max_file_bytes: int = 1 << 30
    max_frames: int = 100_000
    max_bytes_in_flight: int = 256 << 20
    max_run_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        object.__setattr__(self, "formats", checked_formats(self.formats))
        for name, known in (("orientation", ORIENTATIONS), ("icc", ICC_RULES), ("jpeg", DECODES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InvalidInputError(f"{name} is {value!r}; expected one of {', '.join(known)}, or None")
        for name in ("max_pixels", "max_file_bytes", "max_frames", "max_bytes_in_flight", "max_run_bytes"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))


def given_options(options: DecodeOptions | Decode | None) -> DecodeOptions:
    """Those of a session: "exact" and "scaled" are the defaults with that ``jpeg``. Raises InvalidInputError."""
    if options is None or isinstance(options, DecodeOptions):
        return options or DecodeOptions()
    if isinstance(options, str) and options in DECODES:
        return DecodeOptions(jpeg=options)
    raise InvalidInputError(f"decode is {options!r}; expected navit_edge.DecodeOptions, or one of {', '.join(DECODES)}")


def within(options: DecodeOptions, left_bytes: int | None) -> DecodeOptions:
    """Options that hold at most half of ``left_bytes`` of decoded pixels: the other half is for those that wait.
    None: as they are."""
    if left_bytes is None:
        return options
    most = max(1, left_bytes // 2)
    return replace(
        options,
        max_bytes_in_flight=min(options.max_bytes_in_flight, most),
        max_run_bytes=min(options.max_run_bytes, most),
    )


def _whole(name: str, value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(value, bool) or not 1 <= number < 1 << 63:
        raise InvalidInputError(f"{name} is {value!r}; expected a whole number, 1 and up")
    return number
