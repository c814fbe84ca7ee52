"""Sizes on the command line: 256MiB."""

from __future__ import annotations

import re

import typer

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d{1,15})\s*([A-Za-z]*)\Z")


def bytes_of(text: str, option: str) -> int:
    """ "256MiB" -> 268435456. Raises typer.BadParameter."""
    match = _SIZE.match(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise typer.BadParameter(f"{text!r}; expected a size, as 64MiB, 1GiB or 500000", param_hint=option)
    return int(match[1]) * _UNITS[match[2].lower()]
