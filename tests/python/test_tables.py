"""Tables of the commands at every width of a terminal: nothing is cut, names and numbers are never broken."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import pytest
from command_line import invoke
from rich.cells import cell_len

from navit_edge.cli import terminal
from navit_edge.cli.terminal import Terminal
from navit_edge.tables import Column, number, print_table, text

ROWS = [
    ("tensorrt-rtx-sm86+sm89-bf16", "16384 × 1024\n256 × 8", "90.7 MiB", "words that may break over several lines"),
    ("openvino-cpu-fp32", "64 × 8", "1.0 KiB", "写真 and a_very_long_word_without_any_space_in_it"),
]
COLUMNS = (Column("engine"), Column("budgets"), number("size"), text("what it is"))


@pytest.mark.parametrize("width", [48, 60, 80, 100, 120, 160])
def test_no_cell_is_cut_at_any_width(width: int) -> None:
    console = Terminal(file=io.StringIO(), width=width)
    print_table(console, "a title of the table", COLUMNS, ROWS)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in printed
    assert max(map(cell_len, printed.splitlines())) <= width
    for engine, budgets, size, words in ROWS:
        assert all(whole in printed for whole in (engine, *budgets.split("\n"), size))
        for word in words.split():
            assert word in printed or cell_len(word) > 14


def test_a_wide_terminal_has_a_row_a_line_and_a_narrow_one_a_block_a_row() -> None:
    first, columns = ("one", "1", "2", "short"), COLUMNS
    wide, narrow = (Terminal(file=io.StringIO(), width=width) for width in (100, 30))
    for console in (wide, narrow):
        print_table(console, "", columns, [first])
    assert [line.split() for line in wide.file.getvalue().splitlines()][2] == ["one", "1", "2", "short"]  # type: ignore[attr-defined]
    lines = [line.split() for line in narrow.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines == [["one"], ["budgets", "1"], ["size", "2"], ["what", "it", "is", "short"]]


def test_a_column_without_text_is_left_out() -> None:
    console = Terminal(file=io.StringIO(), width=80)
    print_table(console, "", COLUMNS, [("one", "", "2", "")])
    assert console.file.getvalue().split()[:2] == ["engine", "size"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_commands_cut_no_name_in_a_narrow_terminal(
    built: Path, tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "Terminal", functools.partial(Terminal, width=width, force_terminal=True))
    sizes = tmp_path / "sizes.csv"
    sizes.write_text("64,96,3\n128,64\n")
    for arguments in (
        ("inspect", built),
        ("plan", built, "--sizes", sizes),
        ("plan", built, "--sizes", sizes, "--policy", "balanced"),
        ("plan-budgets", built, "--sizes", sizes),
        ("build-engine", built, "--dry-run"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        assert "…" not in result.stdout.replace("holds", ""), result.stdout
    assert "engines/openvino-cpu.blob" in invoke("inspect", built).stdout
