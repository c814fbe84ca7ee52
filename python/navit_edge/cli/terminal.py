"""Rich's console, through which no text of others reaches the terminal as an order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment

from navit_edge.text import shown_lines

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType


class Terminal(Console):
    """What is printed is shown, whatever it holds (``text.shown_lines``); Rich's own control codes work.

    Brackets are brackets, no markup. The last line of defence: who makes a table of names gives their ``shown`` text,
    which is as wide as it looks.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown_lines(segment.text), segment.style)
