"""Numbers that a caller gives: what counts as one, and what each option may be.

One rule everywhere: numpy's scalars are numbers like Python's own; bools, texts and arrays are none. Which values an
option may have is said once, in csrc/src/base/option_range.cc.
"""

from __future__ import annotations

import functools
import math
import numbers
import re
from collections.abc import Iterable, Mapping

from navit_edge import _core
from navit_edge.errors import InvalidInputError


def real(name: str, value: object, expected: str) -> float:
    """``value`` as a float, infinite if it is a whole number beyond them. Raises InvalidInputError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidInputError(f"{name} is {value!r}; expected {expected}")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]


def whole(name: str, value: object, expected: str) -> int:
    """``value`` as an int. Raises InvalidInputError, for 2.0 as well."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InvalidInputError(f"{name} is {value!r}; expected {expected}")
    return int(value)


def as_json(value: object) -> int | float:
    """``enc_hook`` of msgspec, for texts made of numbers that a caller gave: numpy's become Python's."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def checked_int(name: str, value: object) -> int:
    """The value of a whole option of the table. Raises InvalidInputError."""
    least, most, _, zero, expected = _ranges()[name]
    number = whole(name, value, expected)
    if not (least <= number <= most or (zero and number == 0)):
        raise InvalidInputError(f"{name} is {value!r}; expected {expected}")
    return number


_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d{1,15})\s*([A-Za-z]*)\Z")


def byte_count(text: str) -> int | None:
    """The bytes of a size: "512MiB" -> 536870912; None if it is none."""
    match = _SIZE.match(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        return None
    return int(match[1]) * _UNITS[match[2].lower()]


def checked_bytes(name: str, value: object) -> int:
    """The value of an option of the table that is a number of bytes, or a text such as "512MiB". Raises
    InvalidInputError."""
    if not isinstance(value, str):
        return checked_int(name, value)
    found = byte_count(value)
    if found is None:
        raise InvalidInputError(f"{name} is {value!r}; expected {_ranges()[name][4]}, or a size such as '512MiB'")
    return checked_int(name, found)


def checked_float(name: str, value: object) -> float:
    """The value of an option of the table. Raises InvalidInputError, for NaN and infinity as well."""
    least, most, _, zero, expected = _ranges()[name]
    number = real(name, value, expected)
    if not math.isfinite(number) or not (least <= number <= most or (zero and number == 0)):
        raise InvalidInputError(f"{name} is {value!r}; expected {expected}")
    return number


def checked_text(name: str, value: object) -> str:
    """Raises InvalidInputError; which texts there are is said elsewhere."""
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} is {value!r}; expected a text")
    return value


def checked_devices(devices: object) -> list[str]:
    """The words of the core for numbers and texts. Raises InvalidInputError for what is no list of such."""
    if isinstance(devices, (str, bytes)) or not isinstance(devices, Iterable):
        raise InvalidInputError(f"devices is {devices!r}; expected a list, as [0, 1] or ['cpu:0-3', 'cpu:4-7']")
    expected = "the number of a GPU or a text, as 'cpu:0-3'"
    return [one if isinstance(one, str) else str(whole("a device", one, expected)) for one in devices]


def whole_pair(name: str, value: object, expected: str) -> tuple[int, int]:
    """Two whole numbers. Raises InvalidInputError."""
    pair = tuple(value) if isinstance(value, Iterable) else ()
    if len(pair) != 2:
        raise InvalidInputError(f"{name} is {value!r}; expected {expected}")
    return whole(name, pair[0], expected), whole(name, pair[1], expected)


def checked_options(options: object) -> dict[str, str]:
    """Options of a backend, name to text; whole numbers become texts. Which there are, and their values, the backend
    knows. Raises InvalidInputError."""
    expected = 'names and values, as {"shape_quantum": 16}'
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise InvalidInputError(f"options is of type {type(options).__name__}; expected {expected}")
    checked = {}
    for name, value in options.items():
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            value = str(int(value))
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInputError(f"options has {name!r}: {value!r}; expected {expected}, texts or whole numbers")
        checked[name] = value
    return checked


def checked_deadline_us(deadline_ms: object) -> float:
    """Microseconds; 0 for None. Raises InvalidInputError."""
    if deadline_ms is None:
        return 0.0
    expected = "milliseconds from the call, more than 0, or None for no deadline"
    number = real("deadline_ms", deadline_ms, expected)
    if not math.isfinite(number) or number <= 0:
        raise InvalidInputError(f"deadline_ms is {deadline_ms}; expected {expected}")
    return number * 1000.0


def timeout_s(timeout: object) -> float | None:
    """Seconds that a wait may take at most, None: for as long as it takes. What no clock can count, infinity among it,
    is None, too. Raises InvalidInputError for what is no number; a negative one is a wait that is over."""
    if timeout is None:
        return None
    expected = "seconds, or None for as long as it takes"
    seconds = real("timeout", timeout, expected)
    if math.isnan(seconds):
        raise InvalidInputError(f"timeout is {timeout!r}; expected {expected}")
    return None if seconds > 1e9 else max(seconds, 0.0)


@functools.cache
def _ranges() -> dict[str, tuple[float, float, bool, bool, str]]:
    return _core.option_ranges()
