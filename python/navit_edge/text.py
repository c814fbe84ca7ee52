"""Text that others wrote (names of files, labels, messages of libraries) on its way to a person or into a file.

A terminal obeys control characters: a file name may change its title, its colours, what it shows, and what Return does.
"""

from __future__ import annotations

import os
import re

#: Controls (C0, DEL, C1), characters that change the direction of what follows or that nobody sees, separators of
#: lines, halves of characters. Joiners (U+200C, U+200D) stay: Persian, Hindi and emoji need them.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f"
)
_one_line = re.compile(f"[{_UNSAFE}]")
_lines = re.compile(f"[{_UNSAFE}]".replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
#: What ``os.fsdecode`` makes of bytes that are not UTF-8.
_half = re.compile("[\ud800-\udfff]")
#: What ``key_of`` writes for a byte: 80 to ff that are not UTF-8, and 5c, the backslash.
_escape = re.compile(r"\\x(5c|[89a-f][0-9a-f])")


def shown(text: object) -> str:
    """``text`` as one line that a terminal shows and does not obey: what it would obey becomes ``\\x1b``, ``\\u202e``.

    Idempotent. For people only: rows and reports that programs read keep the exact text.
    """
    return _one_line.sub(_written, str(text))


def shown_lines(text: object) -> str:
    """The same for text of several lines."""
    return _lines.sub(_written, str(text))


def _written(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte of a file name
    known = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(match[0])
    return known or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def key_of(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """A path as rows name it: valid Unicode, and different for different paths, whatever bytes they have.

    The path itself; bytes that are not UTF-8 become ``\\xNN``, and a backslash that would look like the start of such
    an escape becomes ``\\x5c``. ``path_of`` is the way back.
    """
    raw = os.fspath(path)
    text = os.fsdecode(raw) if isinstance(raw, bytes) else raw
    if "\\x" in text:
        text = _escape.sub(r"\\x5cx\1", text)
    return without_halves(text)


def path_of(key: str) -> str:
    """The path that ``key_of`` made ``key`` of, as Python's functions take it."""
    return os.fsdecode(
        _escape.sub(lambda match: chr(0xDC00 + int(match[1], 16)) if match[1] != "5c" else "\\", key).encode(
            "utf-8", "surrogateescape"
        )
    )


def without_halves(text: str) -> str:
    """``text`` that can be written as UTF-8: halves of characters, as in names that are no UTF-8, become ``\\xNN``."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _half.sub(_written, text)
    return text


def size_text(count: int) -> str:
    """12345678 -> "11.8 MiB"."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def safe_json(text: str) -> str:
    """JSON of the same value in which what a terminal would obey is written ``\\uNNNN``, and halves of characters,
    which most readers of JSON refuse, as by ``without_halves``. ``text``: JSON, as ``json.dumps`` writes it."""
    return _lines.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    if "\ud800" <= match[0] <= "\udfff":
        return "\\" + _written(match)
    pairs = match[0].encode("utf-16-be")
    return "".join(f"\\u{pairs[at : at + 2].hex()}" for at in range(0, len(pairs), 2))
