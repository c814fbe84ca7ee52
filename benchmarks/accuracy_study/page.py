"""The tables of docs/accuracy.md, between its marks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]

_MARK = re.compile(r"<!-- accuracy: (\w+) -->\n.*?<!-- accuracy: end -->", re.DOTALL)
_GROUPS = {
    "caps": "token caps", "policies": "policies", "square": "squares", "long": "squares of elongated images",
    "drift": "other pixels",
}  # fmt: skip
_HEADS = {"knn": "neighbours", "linear": "linear probe"}


def updated(page: str, found: dict[str, Any]) -> str:
    """``page`` with the figures of the JSON file between every pair of its marks."""
    parts: dict[str, Callable[[dict[str, Any]], str]] = {
        "summary": _summary,
        "setup": _setup,
        "caps": lambda found: _table(_group(found, "caps"), cosine=False, ms=True),
        "square": lambda found: _table([*_paired(found, "square"), *_group(found, "long")], cosine=False),
        "precision": lambda found: _table([*_paired(found, "precision")], cosine=True, ms=True),
        "policies": lambda found: _table(_paired(found, "policies"), cosine=False, ms=True),
        "drift": lambda found: _table(_group(found, "drift"), cosine=True),
        "near": _near,
    }
    return _MARK.sub(
        lambda mark: f"<!-- accuracy: {mark[1]} -->\n{parts[mark[1]](found)}\n<!-- accuracy: end -->", page
    )


def _summary(found: dict[str, Any]) -> str:
    """What the tests show, and how large a difference has to be for it."""
    by_key = {row["key"]: row for row in found["rows"]}
    tests = [(row, head) for row in found["rows"] for head in _HEADS if row["against"] is not None]
    shown = [(row, head) for row, head in tests if row[head]["test"]["p_holm"] <= 0.05]
    lines = [f"Of {len(tests)} comparisons {len(shown)} show a difference, all taken together:", ""]
    for row, head in shown:
        words = f"* {row['name']}, {_HEADS[head]}: {_points(row[head]['test'])} points against"
        lines.append(_wrapped(f"{words} “{by_key[row['against']]['name']}”", indent="  "))
    groups: dict[str, list[float]] = {}
    for row, head in tests:
        name = row["precision"] if row["group"] == "precision" else _GROUPS[row["group"]]
        groups.setdefault(name, []).append(row[head]["test"]["smallest"])
    spans = [f"{name} {_span(values)}" for name, values in groups.items()]
    lines += ["", _wrapped(f"The smallest difference that a row alone can show here, in points: {'; '.join(spans)}.")]
    safe = [f"{row['name']} ({_HEADS[head]})" for row, head in tests if row[head]["test"]["verdict"] == "no loss"]
    lines += ["", _wrapped(f"A loss of {found['margin'] * 100:g} point is excluded for {', '.join(safe) or 'no row'}.")]
    return "\n".join(lines)


def _span(values: Sequence[float]) -> str:
    low, high = _percent(min(values)), _percent(max(values))
    return low if low == high else f"{low} to {high}"


def _setup(found: dict[str, Any]) -> str:
    sample, versions = found["sample"], found["versions"]
    tests = sum(row["against"] is not None for row in found["rows"]) * len(_HEADS)
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    within = ", ".join(f"{count} at most {cap}" for cap, count in sample["within_cap"].items())
    return _wrapped(
        f"{sample['train']:,} training and {sample['test']:,} test images of {len(sample['classes'])} classes. "
        f"{sample['most_of_one_class']} test images are of the largest class, "
        f"{_percent(sample['most_of_one_class'] / sample['test'])} %. Patches of a test image at its own size: "
        f"{within}. {sample['elongated']} test images are elongated. The page makes {tests} comparisons. "
        f"{found['host']['cpu']}; {named}."
    )


def _near(found: dict[str, Any]) -> str:
    lines = [
        "| cosine of the nearest training image | test images | neighbours, top-1 % of the others |",
        "|---|---|---|",
    ]
    lines += [f"| {one['cosine']:g} or more | {one['images']} | {_share(one['others'])} |" for one in found["near"]]
    return "\n".join(lines)


def _group(found: dict[str, Any], name: str) -> list[Row]:
    return [row for row in found["rows"] if row["group"] == name]


def _paired(found: dict[str, Any], name: str) -> list[Row]:
    """Rows of a group, each set of them after the row that they are compared with."""
    by_key = {row["key"]: row for row in found["rows"]}
    rows: list[Row] = []
    for row in _group(found, name):
        if all(row["against"] != before["key"] for before in rows):
            rows.append({**by_key[row["against"]], "against": None})
        rows.append(row)
    return rows


def _table(rows: Sequence[Row], *, cosine: bool, ms: bool = False) -> str:
    heads = ["", "tokens", *(["ms"] if ms else [])]
    for words in _HEADS.values():
        heads += [f"{words}, top-1 %", "points", "p, adjusted"]
    heads += ["cosine: mean, least"] if cosine else []
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(_cells(row, cosine=cosine, ms=ms))} |" for row in rows]
    return "\n".join(lines)


def _cells(row: Row, *, cosine: bool, ms: bool) -> Iterator[str]:
    yield row["name"]
    yield f"{row['tokens']:.0f}"
    if ms:
        yield f"{row['ms']:.1f}"
    for head in _HEADS:
        test = row[head]["test"] if row["against"] is not None else None
        yield _share(row[head]["top1"])
        yield "" if test is None else _points(test)
        yield "" if test is None else f"{_p(test['p'])}, {_p(test['p_holm'])}"
    if cosine:
        found = row["cosine"] if row["against"] is not None else None
        yield "" if found is None else f"{_cosine(found['mean'])}, {_cosine(found['least'])}"


def _points(test: dict[str, Any]) -> str:
    """The difference with its interval, in bold if the test shows it."""
    found = test["difference"]
    text = f"{_signed(found['value'])} ({_signed(found['low'])} to {_signed(found['high'])})"
    return f"**{text}**" if test["p_holm"] <= 0.05 else text


def _share(one: dict[str, Any]) -> str:
    return f"{_percent(one['value'])} ({_percent(one['low'])} to {_percent(one['high'])})"


def _percent(value: float) -> str:
    return f"{value * 100:.1f}"


def _signed(value: float) -> str:
    text = f"{value * 100:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2g}"


def _cosine(value: float) -> str:
    """Never rounded up to 1."""
    return "1" if value > 1 - 1e-6 else f"{int(value * 1e4) / 1e4:.4f}"


def _wrapped(text: str, *, indent: str = "") -> str:
    """indent: of every line but the first."""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
