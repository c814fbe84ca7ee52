"""Which formats are decoded: a list, and what is never on it. Files are told apart by what they hold."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING

from navit_edge.decode.limits import hook_into_pillow
from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import ImageFile

#: Pillow's names of what is decoded. HEIF (HEIC) by pillow-heif, if that is installed.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000", "HEIF")

#: How their files are called, by which folders are searched: one list for all of navit_edge.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "MPO": (".mpo",),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif", ".avifs"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),
}

#: Never decoded, whoever asks -> why.
NEVER = {
    "EPS": "a PostScript program, which Ghostscript would run",
    "IPTC": "a wrapper that opens whatever format lies in it",
    "FPX": "a container of OLE streams",
    "MIC": "a container of OLE streams",
    "WMF": "a list of drawing commands, which a handler would run",
    "BUFR": "read by a handler that is not Pillow's",
    "GRIB": "read by a handler that is not Pillow's",
    "HDF5": "read by a handler that is not Pillow's",
    "MPEG": "a video",
}

_MODULES = {"PPM": "Ppm", "JPEG": "Jpeg", "MPO": "Mpo", "PNG": "Png", "WEBP": "WebP", "GIF": "Gif", "BMP": "Bmp",
            "TIFF": "Tiff", "AVIF": "Avif", "JPEG2000": "Jpeg2K"}  # fmt: skip
#: Brands of ISO base media files: https://nokiatech.github.io/heif/technical.html, AV1 Image File Format.
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}

#: How files begin that are not on the list -> what they are, for messages.
_OTHERS = (
    (b"%!PS", "PostScript (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file (PSD)"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"DDS ", "DDS"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"qoif", "QOI"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\3\4", "a ZIP archive"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML (SVG?)"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"{", "text (JSON?)"),
)

_lock = threading.Lock()
_ready = False


def checked_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """The names in capitals. Raises InvalidInputError for one that Pillow does not know, or that is in ``NEVER``."""
    if isinstance(formats, str):
        raise InvalidInputError(f"formats is {formats!r}; expected a tuple of names, as ({formats!r},)")
    names = tuple(dict.fromkeys(str(name).upper() for name in formats))
    if not names:
        raise InvalidInputError("formats is empty; expected at least one, as JPEG")
    for name in names:
        if name in NEVER:
            raise InvalidInputError(f"formats names {name}, {NEVER[name]}: it is never decoded; convert it to PNG")
    further = [name for name in names if name not in FORMATS]
    if further:
        from PIL import Image

        with _lock:
            Image.init()  # every plugin, here and not in the threads that decode
        for name in further:
            if name not in Image.OPEN:
                known = ", ".join(sorted(set(Image.OPEN) - set(NEVER)))
                raise InvalidInputError(f"formats names {name}, which Pillow does not know; known: {known}")
    return names


def suffixes_of(formats: Iterable[str]) -> tuple[str, ...]:
    """How files of these formats are called, in lower case; of further formats what Pillow registers."""
    found = [suffix for name in formats for suffix in SUFFIXES.get(name) or _registered(name)]
    return tuple(dict.fromkeys(found))


def _registered(name: str) -> list[str]:
    from PIL import Image

    return [suffix for suffix, of in Image.EXTENSION.items() if of == name]


def looks_like(head: bytes, formats: Iterable[str]) -> bool:
    """Whether a file that begins with ``head`` is of one of ``formats``, as far as its beginning says."""
    from PIL import Image

    prepare_pillow()
    if _brands(head) & (_HEIC_BRANDS | _AVIF_BRANDS | {b"mif1", b"msf1"}):
        return True  # whether it can be decoded here is said when it is
    if head.startswith(b"P") and not head[2:3].isspace():
        formats = [name for name in formats if name != "PPM"]  # whose magic is one letter and "y", as of "Python"
    accepts = (Image.OPEN[name][1] for name in formats if name in Image.OPEN)
    return any(accept is not None and bool(accept(head)) for accept in accepts)


def prepare_pillow() -> None:
    """Imports what decodes ``FORMATS``, once; later calls cost nothing. From any thread."""
    global _ready
    if _ready:
        return
    with _lock:
        for name in _MODULES.values():
            with suppress(ImportError):  # a Pillow that has no AVIF yet
                import_module(f"PIL.{name}ImagePlugin")
        hook_into_pillow()
        _ready = True


def open_image(file: IO[bytes], formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Reads the header of ``file``, which stays open and is the caller's to close.

    Raises InvalidInputError if it holds none of ``formats``, and whatever Pillow raises if it is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    head = file.read(512)
    file.seek(0)
    brands = _brands(head)
    try:
        if not brands & _AVIF_BRANDS and brands & (_HEIC_BRANDS | {b"mif1", b"msf1"}) and "HEIF" in formats:
            return _open_heif(file)
        return Image.open(file, formats=[name for name in formats if name in Image.OPEN])
    except UnidentifiedImageError:
        raise InvalidInputError(_refusal(head, formats)) from None


def _open_heif(file: IO[bytes]) -> ImageFile.ImageFile:
    """By pillow-heif's own class: registering it with Pillow would be for all of the process."""
    if find_spec("pillow_heif") is None:
        raise InvalidInputError(
            "is HEIC or HEIF, which pillow-heif decodes and which is not installed: pip install pillow-heif"
        )
    module = import_module("pillow_heif")
    from PIL import UnidentifiedImageError

    try:
        image: ImageFile.ImageFile = module.HeifImageFile(file, "")
    except SyntaxError as error:
        raise UnidentifiedImageError(str(error)) from error
    return image


def _brands(head: bytes) -> set[bytes]:
    """Of the ``ftyp`` box that an ISO base media file begins with."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _refusal(head: bytes, formats: tuple[str, ...]) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if _brands(head) & _AVIF_BRANDS:
        return "is AVIF, and its header cannot be read; check whether the file is whole"
    if head[4:8] == b"ftyp":
        return f"an ISO media file (MP4, MOV), not an image in a format that is decoded ({', '.join(formats)})"
    other = next((f"{name}, " for magic, name in _OTHERS if head.startswith(magic) or start.startswith(magic)), "")
    return f"{other}not an image in a format that is decoded ({', '.join(formats)}); convert it to PNG or JPEG"
