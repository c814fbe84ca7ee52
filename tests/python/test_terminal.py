"""No text of others reaches the terminal as an order: names, labels, messages, usage, tracebacks."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from navit_edge.cli.common import echo_json
from navit_edge.cli.main import app
from navit_edge.cli.terminal import Terminal
from navit_edge.run.rows import Row
from navit_edge.run.sinks.table import TableSink
from navit_edge.text import shown_lines

WITH_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="export asks for PyTorch first")
ORDERS = "a\x1b]0;owned\x07\x9b2J\u202egnp.jpg\r"


def test_whatever_is_printed_on_the_console_is_shown_and_not_obeyed() -> None:
    table = Table(f"head {ORDERS}", title=f"title {ORDERS}")
    table.add_row(ORDERS)
    console = Terminal(file=io.StringIO(), force_terminal=True, color_system=None, width=100)
    console.print(table)
    console.print(ORDERS)
    console.print("[/none] [link=x]")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown_lines(text) == text
    assert "[/none] [link=x]" in text


def test_rows_of_a_table_are_as_wide_as_they_look() -> None:
    console = Terminal(file=io.StringIO(), width=200)
    sink = TableSink(console, nullcontext)
    record = {"pixels": (1, 2), "grid": (1, 2), "tokens": 2, "pack": 0, "latency_ms": 1.0}
    rows = [{"file": ORDERS, "error": ORDERS}, {"file": "b", **record, "top_k": [{"label": ORDERS, "score": 1.0}]}]
    for row in rows:
        sink.write(Row(record=row))
    sink.flush()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len({len(line) for line in lines}) == 1
    assert r"a\x1b]0;owned\x07\x9b2J\u202egnp.jpg\r 100.0%" in "\n".join(lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", f"/{ORDERS}", "x.png"),
        ("run", "bundle", "x.png", "-o", f"x{ORDERS}"),
        ("run", "bundle", "x.png", f"--{ORDERS}"),
        ("plan", f"/{ORDERS}", "x.png"),
        ("inspect", f"/{ORDERS}", "--debug"),
        ("bench", f"/{ORDERS}"),
        ("verify", f"/{ORDERS}"),
        ("build-engine", f"/{ORDERS}", "--backend", "openvino"),
        pytest.param(("export", "--config", f"/{ORDERS}", "-o", f"/{ORDERS}/x"), marks=WITH_TORCH),
        (ORDERS,),
    ],
)
def test_messages_of_the_command_line_show_what_was_given_and_do_not_obey_it(
    arguments: tuple[str, ...],
) -> None:
    result = CliRunner().invoke(app, list(arguments), env={"TERM": "dumb"})
    assert result.exit_code in (1, 2)
    assert shown_lines(result.output) == result.output
    assert r"\x1b" in result.output


def test_json_on_standard_output_is_exact_and_obeyed_by_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"image": ORDERS, "bundle": str(Path("m\udcff.navit"))})
    text = capsys.readouterr().out
    assert shown_lines(text) == text
    assert json.loads(text) == {"image": ORDERS, "bundle": "m\\xff.navit"}
