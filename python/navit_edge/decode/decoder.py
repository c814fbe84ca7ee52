"""The one way from a file or PIL image to pixels of eight bits: limits, depth, colours, orientation, in this order."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from navit_edge.decode import color, depth, files, jpeg, orientation, png, png_metadata, webp
from navit_edge.decode.by_core import DecodedPixels, Plan, Resizing
from navit_edge.decode.encoded import Encoded, name_of, open_encoded
from navit_edge.decode.formats import NEVER, open_image, prepare_pillow
from navit_edge.decode.frames import COUNTED, Decoded, Frames, FrameSource
from navit_edge.decode.limits import check_pixels, check_tiff_tags, pixel_limit
from navit_edge.decode.options import DecodeOptions, Recorded
from navit_edge.decode.refusals import refusals
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import Image, ImageFile

    from navit_edge import _core


class Decoder:
    """Decodes as ``options`` and a bundle say. Immutable; any number of threads may use one.

    Every member raises InvalidInputError for what is wrong with an image, whatever its decoder raised: the cause is
    chained.
    """

    def __init__(self, options: DecodeOptions | None = None, recorded: Recorded | None = None) -> None:
        if options is not None and not isinstance(options, DecodeOptions):
            raise InvalidInputError(f"decode is of type {type(options).__name__}; expected navit_edge.DecodeOptions")
        self.options = options or DecodeOptions()
        #: To what images may be resized while they are decoded; None: they are given as they are.
        self.resizing: Resizing | None = None
        says = recorded or Recorded()
        self.recorded = replace(
            says,
            orientation=self.options.orientation or says.orientation,
            icc=self.options.icc or says.icc,
            decode=self.options.jpeg or says.decode,
        )

    def toward(self, session: _core.Session, policy: _core.Policy | None) -> Decoder:
        """One that may resize what it decodes to what ``session`` would, under ``policy``, while it decodes it."""
        decoder = copy.copy(self)
        decoder.resizing = Resizing(session, policy)
        return decoder

    def decode(self, source: Encoded, who: str = "image") -> Decoded:
        """A file, as ``open`` takes it; of several frames the first."""
        with self.open(source, who) as opened:
            return opened.decode()

    def decode_pixels(self, source: Encoded, who: str = "image") -> Decoded | DecodedPixels:
        """The same, by the fastest way that gives the same pixels."""
        with self.open(source, who) as opened:
            return opened.decode_pixels()

    def size_of(self, source: Encoded) -> tuple[int, int]:
        """(height_px, width_px) of the decoded image, by the header."""
        with self.open(source) as opened:
            return opened.size

    def open(self, source: Encoded, who: str = "image", *, for_frames: bool = False) -> Opened:
        """Reads the header of a file and checks the limits. Close it, or use it as a context manager.

        source: a path, the bytes of an image file, or an open binary file, which is read to its end here.
        who: what messages call a source that has no name.
        for_frames: ``frames`` will be asked for, so that the first frames of a WebP file that is cut off count.
        """
        prepare_pillow()
        name = name_of(source, who)
        with refusals(name), pixel_limit(self.options.max_pixels):
            file = open_encoded(source, self.options.max_file_bytes)
            try:
                if "TIFF" in self.options.formats:
                    check_tiff_tags(file)
                kept = webp.whole_frames(file) if for_frames else None
                if kept is None:
                    return Opened(self, file, name)
                file.close()
                return Opened(self, kept, name, cut=True)
            except BaseException:
                file.close()
                raise

    def of_pil(self, image: Image.Image, who: str) -> Decoded:
        """A PIL image, loaded or not, of any mode; its own EXIF turns it unless it was turned. The frame is the one it
        stands at. ``image`` is loaded if it was not, and otherwise left as it was."""
        from PIL import ImageFile

        prepare_pillow()
        if isinstance(image, ImageFile.ImageFile):
            file_name = getattr(image, "filename", "")
            who = f"{who} ({files.shown(file_name)})" if isinstance(file_name, (str, bytes)) and file_name else who
        with refusals(who), pixel_limit(self.options.max_pixels):
            if image.width < 1 or image.height < 1:
                raise InvalidInputError(
                    f"is empty, {image.height}x{image.width} pixels; expected at least one pixel a side; leave it out"
                )
            if isinstance(image, ImageFile.ImageFile) and image.format in NEVER and _is_unread(image):
                raise InvalidInputError(
                    f"is {image.format}, {NEVER[str(image.format)]}: it is never decoded; convert it to PNG"
                )
            check_pixels(image.width, image.height, self.options.max_pixels)
            return self._finish(image, ())

    def _finish(self, image: Image.Image, done: tuple[str, ...]) -> Decoded:
        """From an opened image to pixels. The pixels of ``image`` are read here."""
        raw_mode = depth.raw_mode_of(image)
        depth.check_samples(image)
        turned, why = 1, ""
        if image.format == "TIFF":  # Pillow turns it while it loads
            turned, why = orientation.orientation_of(image)
        shortened = depth.wide_ppm(image)
        if shortened is None:
            image.load()
            check_pixels(image.width, image.height, self.options.max_pixels)  # some headers lie
        turn = 1
        if image.format != "TIFF" and self.recorded.orientation == "apply":
            turn, why = orientation.orientation_of(image)
            turned = turn
        eight_bits, reduced = shortened or depth.to_eight_bits(image, raw_mode)
        if eight_bits is not image and "icc_profile" in image.info:
            eight_bits.info["icc_profile"] = image.info["icc_profile"]
        coloured, colours = color.to_colour(eight_bits, self.recorded.icc)
        finished = orientation.upright(coloured, turn)
        upright = f"turned upright (orientation {turned})" if turned > 1 else ""
        words = (*done, upright, why, reduced, *colours, self._alpha_words(finished))
        return Decoded(image=finished, done=tuple(word for word in words if word))

    def _alpha_words(self, image: Image.Image) -> str:
        if image.mode != "RGBA" or image.getchannel("A").getextrema() == (255, 255):
            return ""
        return color.alpha_words(self.recorded)


class Opened:
    """A file whose header was read. size: (height_px, width_px) of the decoded image. digest: of the file, if it was
    asked for in a session's memory of results."""

    digest = b""

    def __init__(self, decoder: Decoder, file: IO[bytes], name: str, *, cut: bool = False) -> None:
        self._decoder = decoder
        self._file = file
        self._name = name
        self._cut = cut
        self._passed_over = ""
        self._data: bytes | None = None
        try:
            image = open_image(file, decoder.options.formats)
        except ValueError as error:
            image = self._without_metadata(error)
        self._image = image
        check_pixels(image.width, image.height, decoder.options.max_pixels)
        self._frames = _frame_words(image, decoder.options.max_frames)

    @property
    def pixel_bytes(self) -> int:
        """What its pixels take when they are decoded."""
        if self._plan is not None:
            return self._plan.pixel_bytes
        image = self._image
        gray = image.mode in ("L", "F") or image.mode.startswith("I")
        return image.width * image.height * (1 if gray else 4)

    @cached_property
    def _plan(self) -> Plan | None:
        """How the core decodes it; None: Pillow does."""
        with refusals(self._name):
            image, decoder = self._image, self._decoder
            if image.format == "PNG" and not self._passed_over:
                found = png.plan(image, decoder.recorded, decoder.resizing)
                return found if found is not None and png.is_whole(self._read()) else None
            return jpeg.plan(image, decoder.recorded, decoder.resizing)

    @property
    def has_frames(self) -> bool:
        """Whether there are further frames or pages behind the first, by the header."""
        return bool(self._frames) or self._cut

    def frames(self) -> Frames:
        """All of its frames in order, instead of ``decode``; close it behind them."""
        options = self._decoder.options
        return Frames(FrameSource(self._decoder._finish, options, self._image, self._file, self._name, cut=self._cut))

    @property
    def size(self) -> tuple[int, int]:
        with refusals(self._name), pixel_limit(self._decoder.options.max_pixels):
            width, height = self._stored_size()
            return (width, height) if self._is_sideways() else (height, width)

    def decode(self) -> Decoded:
        """The pixels. Once; closes the file."""
        with refusals(self._name), pixel_limit(self._decoder.options.max_pixels), self:
            if self._image.format in jpeg.FORMATS:
                jpeg.check_scans(self._read())
            try:
                return self._decoder._finish(self._image, (self._frames, self._passed_over))
            except ValueError as error:  # metadata behind the pixels
                self._image = self._without_metadata(error)
                return self._decoder._finish(self._image, (self._frames, self._passed_over))

    def decode_pixels(self) -> Decoded | DecodedPixels:
        """The pixels, by the core if it can. Once; closes the file."""
        if self._plan is None:
            return self.decode()
        try:
            pixels = self._plan.decode(self._read())
        except Exception:  # Pillow decodes it all the same, or says what is wrong with it
            return self.decode()
        self.close()
        return pixels

    def _read(self) -> bytes:
        """The whole file."""
        if self._data is None:
            size = self._file.seek(0, os.SEEK_END)
            files.check_bytes(size, self._decoder.options.max_file_bytes)
            self._file.seek(0)
            self._data = self._file.read(size)
        return self._data

    def _without_metadata(self, error: ValueError) -> ImageFile.ImageFile:
        """Opens a PNG anew that Pillow refuses for its text or profile alone. Raises ``error`` for anything else."""
        if self._passed_over or not png_metadata.is_too_large(self._file, error):
            raise error
        self._passed_over = png_metadata.PASSED_OVER
        self._file.seek(0)
        return open_image(png_metadata.without_metadata(self._file), self._decoder.options.formats)

    def close(self) -> None:
        self._file.close()
        self._data = None

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stored_size(self) -> tuple[int, int]:
        """(width_px, height_px) of the pixels in the file. Pillow's own size of a TIFF image is that of the upright
        one in some versions, and if the tag and not XMP says so."""
        if self._image.format == "TIFF":
            tags = self._image.tag_v2  # type: ignore[attr-defined]
            return int(tags[256]), int(tags[257])
        return self._image.size

    def _is_sideways(self) -> bool:
        """Whether decoding changes height and width."""
        image = self._image
        if image.format == "TIFF":  # Pillow turns it in any case
            return orientation.turns_sideways(orientation.orientation_of(image)[0])
        if self._decoder.recorded.orientation != "apply":
            return False
        if image.format == "PNG" and not png_metadata.has_late_exif(self._file):
            from PIL import Image

            return orientation.turns_sideways(_value(Image.Image.getexif, image))  # PNG's own reads the pixels first
        return orientation.turns_sideways(orientation.orientation_of(image)[0])


def _is_unread(image: ImageFile.ImageFile) -> bool:
    from PIL import ImageFile

    return isinstance(image, ImageFile.StubImageFile) or bool(image.tile)


def _frame_words(image: ImageFile.ImageFile, most: int) -> str:
    """Which frame is read, "" if there is one. Raises InvalidInputError if there are more than ``most``."""
    if image.format in COUNTED:
        count = int(getattr(image, "n_frames", 1))
        if count > most:
            raise InvalidInputError(
                f"has {count:,} frames; expected at most {most:,}; allow more with DecodeOptions(max_frames=…)"
            )
        kind = {"MPO": "pictures", "HEIF": "pictures"}.get(str(image.format), "frames")
        which = "the primary one" if image.format == "HEIF" else "the first"
        return f"{which} of {count:,} {kind}" if count > 1 else ""
    try:
        several = bool(getattr(image, "is_animated", False))
    except MemoryError:
        raise
    except Exception:  # what lies behind the first frame is damaged
        several = True
        image.seek(0)
    if not several:
        return ""
    return "the first of several pages" if image.format == "TIFF" else "the first of several frames"


def _value(getexif: Any, image: Any) -> int:
    """The orientation by a ``getexif`` that is not the image's own."""
    try:
        value = getexif(image).get(274, 1)
    except MemoryError:
        raise
    except Exception:
        return 1
    return value if isinstance(value, int) else 1
