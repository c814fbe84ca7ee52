"""demo/report.html: every image with its patches, classes and where the model looked, and the packs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from demo_run import TOP, EngineRun, Sample, right_of, totals

from navit_edge.bundle.manifest import Manifest
from navit_edge.page.cards import make_card
from navit_edge.page.content import Group, Page
from navit_edge.page.html import write_page

if TYPE_CHECKING:
    from navit_edge_export.model import NaViT

_MAP = "On the right, orange: how much attention pooling weighs each patch, by the engine's own tokens."


def write_report(run: EngineRun, samples: Sequence[Sample], manifest: Manifest, model: NaViT, path: Path) -> None:
    """One file that holds its pictures. Classes that are known get a verdict."""
    from navit_edge_export.pooling_map import pooling_map

    has_map = model.config.pooling in ("map", "multi")
    cards = []
    for sample, result in zip(samples, run.results, strict=True):
        assert result.tokens is not None
        weights = pooling_map(model, result.tokens, result.grid) if has_map else None
        cards.append(
            make_card(
                sample.path.name,
                sample.pixels,
                result,
                manifest.preprocess,
                top_k=TOP,
                weights=weights,
                truth=sample.truth,
            )
        )
    known = [card for card, sample in zip(cards, samples, strict=True) if sample.truth]
    others = [card for card, sample in zip(cards, samples, strict=True) if not sample.truth]
    groups = []
    map_text = _MAP if has_map else ""
    if known:
        right, count = right_of(run, samples)
        text = f"One of each class, none of them seen in training. {right} of {count} are right; a sample this small"
        groups.append(
            Group(
                title="Clip art", text=f"{text} says little of accuracy: the model card does. {map_text}", cards=known
            )
        )
    if others:
        text = "Nothing of the kind was in training: the classes are guesses." if known else "The weights are random."
        groups.append(Group(title="Photographs", text=f"{text} {map_text}", cards=others))
    page = Page(
        title=f"{manifest.name}: {len(samples)} images in {len(run.packs)} packs",
        text="Each image keeps its shape. A square of its grid is a patch, a patch is a token, and the tokens of "
        "several images share a pass of the engine. No image is squashed, cropped or padded.",
        facts=[
            ("model", f"{manifest.model.parameters / 1e6:.1f} M parameters, {manifest.model.depth} layers"),
            ("engine", run.engine.id),
            ("device", run.device),
            ("run", totals(run)),
        ],
        groups=groups,
    )
    write_page(page, path)
