"""A table for the terminal, a screenful at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from rich.text import Text

from navit_edge.tables import Column, number, print_table, text
from navit_edge.text import shown

if TYPE_CHECKING:
    from rich.console import Console

    from navit_edge.run.rows import Row
    from navit_edge.run.sources import Name

#: Rows of one table; bounds memory.
ROWS = 200
#: A path longer than this has its folder on a line of its own in a narrow terminal.
_LONG_NAME = 24
_COLUMNS = (
    text("file"), Column("pixels\n(h × w)"), Column("grid"), number("tokens"), number("pack"), text("result"),
    number("ms"),
)  # fmt: skip


class TableSink:
    """Prints tables of up to ROWS rows. paused: entered while it prints, so that no bar is in the way."""

    def __init__(self, console: Console, paused: Callable[[], AbstractContextManager[None]]) -> None:
        self._console = console
        self._paused = paused
        self._records: list[dict[str, Any]] = []
        self.found = self.found_failed = 0

    def done(self) -> Iterator[Name]:
        return iter(())

    def write(self, row: Row) -> None:
        self._records.append(row.record)
        if len(self._records) >= ROWS:
            self.flush()

    def flush(self) -> None:
        if self._records:
            with self._paused():
                print_table(self._console, "", _COLUMNS, list(_rows(self._records, narrow=self._console.width < 120)))
            self._records.clear()

    def close(self) -> None:
        """Nothing is held."""


def _rows(records: list[dict[str, Any]], *, narrow: bool) -> Iterator[tuple[str | Text, ...]]:
    for record in records:
        name = shown(record["file"]) + (f"#{record['frame']}" if "frame" in record else "")
        if narrow and len(name) > _LONG_NAME:
            name = "/\n".join(name.rsplit("/", 1))
        if "error" in record:
            why = shown(record["error"]).removeprefix(f"{shown(record['file'])}: ")
            yield (name, "", "", "", "", Text(why, style="red"), "")
            continue
        best = [
            f"{shown(item.get('label', item.get('index')))} {item['score']:.1%}" for item in record.get("top_k", [])
        ]
        if "embedding_norm" in record:
            best.append(f"|embedding| {record['embedding_norm']:.3f}")
        yield (
            name,
            "{} × {}".format(*record["pixels"]),
            "{} × {}".format(*record["grid"]),
            str(record["tokens"]),
            str(record["pack"]),
            "\n".join(best),
            f"{record['latency_ms']:.1f}",
        )
