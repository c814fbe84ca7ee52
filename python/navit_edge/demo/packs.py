"""The packs of a run as a picture: a row for each pack, a block for each image, as wide as its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_COLOURS = (
    "#8ecae6",
    "#ffd166",
    "#b7e4c7",
    "#f4a6a6",
    "#cdb4db",
    "#ffd6a5",
    "#a3c4f3",
    "#d4e09b",
    "#f1c0e8",
    "#e5989b",
)
_WIDTH_PX = 1500
_ROW_PX = 150
_HEAD_PX = 92
_GAP_PX = 16
_LEFT_PX = 120
_EDGE_PX = 24
_TEXT_PX = 46  # of a row, below the thumbnails


@dataclass(frozen=True, kw_only=True)
class Block:
    """One image of a pack: its picture, its tokens, and what stands below it."""

    image: Image
    tokens: int
    lines: tuple[str, ...]


def draw_packs(rows: Sequence[Sequence[Block]], *, title: str, subtitle: str) -> Image:
    """An RGB picture. The widest row takes the whole width; all rows have one scale."""
    from PIL import Image, ImageDraw, ImageFont

    widest = max(sum(block.tokens for block in row) for row in rows)
    scale = (_WIDTH_PX - _LEFT_PX - _EDGE_PX) / widest
    canvas = Image.new("RGB", (_WIDTH_PX, _HEAD_PX + len(rows) * (_ROW_PX + _GAP_PX) + _EDGE_PX), "white")
    pen = ImageDraw.Draw(canvas)
    large, plain, small = (ImageFont.load_default(size) for size in (26, 15, 12))
    pen.text((_EDGE_PX, 18), title, fill="#1b1b1b", font=large)
    pen.text((_EDGE_PX, 56), subtitle, fill="#444444", font=plain)
    for index, row in enumerate(rows):
        top = _HEAD_PX + index * (_ROW_PX + _GAP_PX)
        tokens = sum(block.tokens for block in row)
        pen.text((_EDGE_PX, top + 50), f"pack {index}", fill="#1b1b1b", font=plain)
        pen.text((_EDGE_PX, top + 72), f"{tokens} tokens", fill="#444444", font=small)
        left = float(_LEFT_PX)
        for number, block in enumerate(row):
            right = left + block.tokens * scale
            pen.rectangle((left, top, right - 2, top + _ROW_PX), fill=_COLOURS[number % len(_COLOURS)])
            room = (max(1, int(right - left - 10)), _ROW_PX - _TEXT_PX - 12)
            small_image = block.image.convert("RGB")
            small_image.thumbnail(room, Image.Resampling.LANCZOS)
            spot = (int((left + right - small_image.width) / 2) - 1, top + 6 + (room[1] - small_image.height) // 2)
            canvas.paste(small_image, spot)
            for line, text in enumerate(block.lines):
                short = _fitting(text, right - left - 6, small)
                pen.text((left + 4, top + _ROW_PX - _TEXT_PX + 2 + 15 * line), short, fill="#1b1b1b", font=small)
            left = right
    return canvas


def write_packs(canvas: Image, path: Path) -> None:
    """As PNG, whole or not at all. Raises OutputError."""
    import io

    from navit_edge.place import write_file

    content = io.BytesIO()
    canvas.save(content, format="PNG")
    write_file(path, content.getvalue())


def _fitting(text: str, width_px: float, font: object) -> str:
    """``text`` if it fits; else its first word, cut with a full stop if it must be."""
    measure = getattr(font, "getlength")  # noqa: B009 - of two kinds of fonts
    if measure(text) <= width_px:
        return text
    word = short = text.split(maxsplit=1)[0] if text else ""
    while short and measure(short) > width_px:
        word = word[:-1]
        short = word and word + "."
    return short
