"""``--html``: the first images of a job, with their results, as one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from navit_edge.bundle import manifest as manifests
from navit_edge.page.cards import make_card
from navit_edge.page.content import MOST_IMAGES, Card, Group, Page
from navit_edge.page.html import write_page

if TYPE_CHECKING:
    from navit_edge.result import Classify
    from navit_edge.run.job import Outcome
    from navit_edge.run.sources import Item
    from navit_edge.session import Result, Session


class JobPage:
    """Takes a job's results as they come and keeps the cards of the first MOST_IMAGES: some megabytes at most."""

    def __init__(self, bundle: Path, session: Session, *, top_k: int, classify: Classify | None = None) -> None:
        self._name = bundle.name
        self._preprocess = manifests.load(bundle).preprocess
        self._facts = [("bundle", bundle.name), ("engine", session.engine), ("device", session.device)]
        self._top_k = top_k
        self._classify = classify
        self._decoder = session.decoder
        self._cards: list[Card] = []
        self._left_out = 0

    def take(self, item: Item, result: Result) -> None:
        """One result, with the image that it is of."""
        if len(self._cards) >= MOST_IMAGES:
            self._left_out += 1
            return
        self._cards.append(
            make_card(
                str(item.name),
                item.image,
                result,
                self._preprocess,
                top_k=self._top_k,
                classify=self._classify,
                error=item.error,
                decoder=self._decoder,
            )
        )

    def write(self, path: Path, outcome: Outcome) -> None:
        """Raises OutputError."""
        facts = [*self._facts, ("this run", outcome.summary)]
        if outcome.skipped:
            facts.append(("done before, not shown", f"{outcome.skipped:,}"))
        folder, cards = _without_folder(self._cards)
        if folder:
            facts.append(("folder", folder))
        group = Group(title="Images", cards=cards)
        write_page(Page(title=f"Results of {self._name}", facts=facts, groups=[group], left_out=self._left_out), path)


def _without_folder(cards: Sequence[Card]) -> tuple[str, list[Card]]:
    """The folder that all files are in, and the cards with what of their names is behind it."""
    try:
        folder = os.path.commonpath([os.path.dirname(card.name) for card in cards])
    except ValueError:  # no images; some with an absolute path, some without
        folder = ""
    start = len(folder.rstrip("/")) + 1 if folder else 0
    return folder, [replace(card, name=card.name[start:]) for card in cards]
