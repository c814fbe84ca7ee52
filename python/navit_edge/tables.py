"""Tables for a terminal, in which nothing is cut: what does not fit side by side is written one below the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    Cell: TypeAlias = str | Text

#: The least width of a column whose text may break over lines.
_LEAST = 14
#: Spaces between columns.
_GAP = 2


@dataclass(frozen=True)
class Column:
    """name: its head. whole: a name or a number, which is never broken over lines. right: digits below digits."""

    name: str
    whole: bool = True
    right: bool = False


def number(name: str) -> Column:
    return Column(name, right=True)


def text(name: str) -> Column:
    """Words, which may break over lines."""
    return Column(name, whole=False)


def print_table(console: Console, title: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """As a table if the terminal is wide enough for it, else each row as lines ``column  value`` below its first cell.

    Cells may have several lines. Columns without any text are left out.
    """
    cells = [list(row) for row in rows]
    kept = [k for k, _ in enumerate(columns) if not cells or any(str(row[k]) for row in cells)]
    columns = [columns[k] for k in kept]
    cells = [[row[k] for k in kept] for row in cells]
    if title:
        console.print(title, style="bold", soft_wrap=True, highlight=False)
    if _is_narrow(console, columns, cells):
        _print_records(console, columns, cells)
    else:
        console.print(_table(columns, cells))


def _is_narrow(console: Console, columns: Sequence[Column], cells: Sequence[Sequence[Cell]]) -> bool:
    """Whether the terminal has no room for these columns side by side."""
    from rich.cells import cell_len

    total = _GAP * (len(columns) - 1)
    for k, column in enumerate(columns):
        lines = [line for row in cells for line in str(row[k]).split("\n")]
        widest = max(map(cell_len, [*column.name.split("\n"), *lines]))
        head = max(map(cell_len, column.name.split()), default=0)
        total += widest if column.whole else max(head, min(widest, _LEAST))
    return total > console.width


def _table(columns: Sequence[Column], cells: Sequence[Sequence[Cell]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, _GAP - 1, 0, 0),  # and one between columns
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        table.add_column(
            column.name, justify="right" if column.right else "left", no_wrap=column.whole, overflow="fold"
        )
    for row in cells:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _print_records(console: Console, columns: Sequence[Column], cells: Sequence[Sequence[Cell]]) -> None:
    from rich.table import Table
    from rich.text import Text

    for row in cells:
        first = row[0] if not isinstance(row[0], str) else Text(row[0])
        console.print(Text.assemble("  ", f"{columns[0].name} " if columns[0].right else "", first), soft_wrap=True)
        grid = Table.grid(padding=(0, _GAP))
        grid.add_column(width=2)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for column, cell in zip(columns[1:], row[1:], strict=True):
            if str(cell):
                value = Text(cell) if isinstance(cell, str) else cell
                grid.add_row("", Text(" ".join(column.name.split()), style="dim"), value)
        console.print(grid)
