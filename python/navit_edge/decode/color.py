"""From any of Pillow's modes to gray, RGB or RGBA; ICC profiles by LittleCMS."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any

from navit_edge.errors import InvalidInputError

if TYPE_CHECKING:
    from PIL import Image

    from navit_edge.decode.options import Recorded
    from navit_edge.vocabulary import Icc

#: Larger profiles are not parsed: those of printers take up to 3 MiB.
MOST_PROFILE_BYTES = 4 << 20
#: A profile that moves no colour by more is sRGB by another name, and converting would only add rounding.
_SAME = 2
#: Channels that a profile's colour space describes -> Pillow's mode of them.
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_WITH_ALPHA = ("LA", "PA", "La", "RGBa", "RGBA")
_SIMPLE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", *_WITH_ALPHA)


def to_colour(image: Image.Image, icc: Icc) -> tuple[Image.Image, list[str]]:
    """A loaded image of eight bits as mode L, RGB(X) or RGBA, and what was done to its colours.

    icc: "ignore": what ``convert("RGB")`` gives, alpha kept. "srgb": through the embedded profile to sRGB, relative
        colorimetric with black point compensation; an image whose profile cannot be used is read as it is, and that is
        said. Lab has one meaning and is always converted by it.

    Raises InvalidInputError for a mode that has no colours.
    """
    if image.mode == "LAB":
        return _lab_to_srgb(image), ["Lab converted to sRGB"]
    if image.mode not in _SIMPLE:
        raise InvalidInputError(f'is an image of mode "{image.mode}"; expected one that image.convert("RGB") takes')
    profile = _profile_of(image)
    done: list[str] = []
    if profile is not None and icc == "srgb" and not profile.is_srgb:
        converted = profile.to_srgb(image)
        if converted is not None:
            return converted, [f"converted to sRGB from {profile.name}"]
        done = [f"read as sRGB, since its profile cannot be used ({profile.name})"]
    elif image.mode == "CMYK":
        done = ["CMYK converted without " + ("a profile" if profile is None else f"its profile ({profile.name})")]
    elif profile is not None and not profile.is_srgb:
        done = [f"profile ignored ({profile.name})"]
    elif coded := _coded_colours(image.info.get("nclx_profile")):
        done = [f"{coded} read as sRGB"]
    return _flat(image), done


def words_if_unchanged(image: Image.Image, icc: Icc) -> list[str] | None:
    """Of an image of mode L or RGB, loaded or not, whose colours ``to_colour`` leaves as they are: what it says of
    them. None if it converts them, or has to try."""
    profile = _profile_of(image)
    if profile is None or profile.is_srgb:
        return []
    return None if icc == "srgb" else [f"profile ignored ({profile.name})"]


def alpha_words(recorded: Recorded) -> str:
    """What becomes of the alpha channel of an image that has one."""
    if recorded.alpha == "composite":
        return f"alpha composited over {','.join(map(str, recorded.background))}"
    return "alpha dropped" if recorded.alpha == "drop" else ""


def _profile_of(image: Image.Image) -> _Profile | None:
    data = image.info.get("icc_profile")
    return _Profile.of(data) if isinstance(data, bytes) and data else None


def _coded_colours(nclx: Any) -> str:
    """Where HEIC names colours that are not sRGB's by number (ITU-T H.273) in the place of a profile; "" elsewhere."""
    if not isinstance(nclx, dict):
        return ""
    primaries = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}.get(nclx.get("color_primaries", 2), "")
    transfer = {16: "PQ", 18: "HLG"}.get(nclx.get("transfer_characteristics", 2), "")
    return " ".join(word for word in (primaries, transfer) if word)


def _flat(image: Image.Image) -> Image.Image:
    """What training loaders see, alpha beside it: ``convert("RGBA")`` if there is transparency, else
    ``convert("RGB")``; gray stays gray."""
    keyed = "transparency" in image.info
    if image.mode in ("L", "RGB", "RGBX", "RGBA") and not keyed:
        return image
    if image.mode == "La":
        image = image.convert("LA")  # Pillow goes no other way from it
    return image.convert("RGBA" if image.mode in _WITH_ALPHA or keyed else "RGB")


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    transform = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"),
        ImageCms.createProfile("sRGB"),
        "LAB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    return ImageCms.applyTransform(image, transform)  # type: ignore[return-value]  # None in place only


class _Profile:
    """An embedded ICC profile. name: its description. space: "RGB", "GRAY", "CMYK", or "" if it cannot be used."""

    def __init__(self, data: bytes) -> None:
        from PIL import ImageCms

        self._data = data
        self.space, self.is_srgb = "", False
        if len(data) > MOST_PROFILE_BYTES:
            self.name = f"{len(data):,} bytes"
            return
        try:
            parsed = ImageCms.ImageCmsProfile(io.BytesIO(data))
            self.name = _words(parsed.profile.profile_description) or "without a name"
            self.space = parsed.profile.xcolor_space.strip()
            self.is_srgb = self.space == "RGB" and self._moves_nothing(parsed)
        except MemoryError:
            raise
        except Exception as error:  # LittleCMS gives OSError, PyCMSError and others
            self.name, self.space = f"damaged: {_words(str(error))}", ""

    @staticmethod
    @functools.lru_cache(maxsize=16)
    def _cached(data: bytes) -> _Profile:
        return _Profile(data)

    @staticmethod
    def of(data: bytes) -> _Profile:
        """Photographs of one camera share a profile."""
        return _Profile._cached(data) if len(data) <= MOST_PROFILE_BYTES else _Profile(data)

    def to_srgb(self, image: Image.Image) -> Image.Image | None:
        """Mode RGB, or RGBA with the image's own alpha; None if the profile is of other channels, or damaged."""
        from PIL import ImageCms

        mode = _SPACES.get(self.space)
        flat = image if image.mode == "CMYK" else _flat(image)
        if mode is None or (mode == "CMYK") != (flat.mode == "CMYK") or (mode == "L" and not _is_gray(image)):
            return None
        alpha = flat.getchannel("A") if flat.mode == "RGBA" else None
        try:
            transform = _transform(ImageCms.ImageCmsProfile(io.BytesIO(self._data)), mode)
            colours: Any = ImageCms.applyTransform(flat if flat.mode == mode else flat.convert(mode), transform)
        except MemoryError:
            raise
        except Exception:
            return None
        if alpha is not None:
            colours.putalpha(alpha)
        converted: Image.Image = colours
        return converted

    @staticmethod
    def _moves_nothing(parsed: Any) -> bool:
        from PIL import ImageChops, ImageCms

        probe = _cube()
        moved: Any = ImageCms.applyTransform(probe, _transform(parsed, "RGB"))
        ranges: Any = ImageChops.difference(probe, moved).getextrema()
        return all(high <= _SAME for _, high in ranges)


def _transform(profile: Any, mode: str) -> Any:
    from PIL import ImageCms

    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _is_gray(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La")


@functools.lru_cache(maxsize=1)
def _cube() -> Image.Image:
    """Colours all over the cube, 512 x 1."""
    from PIL import Image

    steps = (0, 36, 73, 109, 146, 182, 219, 255)
    return Image.frombytes("RGB", (512, 1), bytes(v for r in steps for g in steps for b in steps for v in (r, g, b)))


def _words(text: str | None) -> str:
    """Printable, and short enough for a reason."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
    return line if len(line) <= 60 else f"{line[:57]}..."
