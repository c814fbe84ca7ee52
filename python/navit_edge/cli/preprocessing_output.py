"""What a bundle does to an image before the model, and where each part of that came from: for export and inspect."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from navit_edge.tables import Column, print_table, text

if TYPE_CHECKING:
    from rich.console import Console

    from navit_edge.bundle.manifest import Manifest


#: Fields whose sources the manifest keeps, in the order in which they are printed.
_FIELDS = ("sizing", "filter", "mean", "std", "alpha", "orientation", "icc", "decode")


def sources_of(own: Mapping[str, str], given: Collection[str]) -> dict[str, str]:
    """Field -> the option, the file or the default that it came from. own: what the import says; given: options."""
    default = "default of export"
    if not own:  # no checkpoint
        own = {"mean": "the model's config", "std": "the model's config"}
    found = {name: own.get(name, default) for name in _FIELDS} | {"icc": default, "decode": default}
    if "max-tokens" in given:
        found["sizing"] += "; --max-tokens"
    return found | {name: f"--{name}" for name in given if name in _FIELDS}


def preprocessing_of(manifest: Manifest) -> dict[str, dict[str, str]]:
    """Field -> its "value" and where it came "from" ("" if the bundle does not say), for people."""
    from navit_edge.bundle.manifest import SOURCE_PREFIX, decode_of, processor_of
    from navit_edge.bundle.sizing_rule import describe

    pre = manifest.preprocess
    values = {
        "sizing": describe(pre.sizing),
        "processor": processor_of(pre),
        "filter": pre.filter,
        "mean": ", ".join(f"{value:.6g}" for value in pre.mean),
        "std": ", ".join(f"{value:.6g}" for value in pre.std),
        "alpha": pre.alpha if pre.alpha != "composite" else f"composite over {', '.join(map(str, pre.background))}",
        "orientation": pre.orientation,
        "icc": pre.icc,
        "decode": decode_of(pre),
    }
    found = manifest.created_by
    return {name: {"value": value, "from": found.get(SOURCE_PREFIX + name, "")} for name, value in values.items()}


def print_preprocessing(console: Console, manifest: Manifest) -> None:
    """A row for each field."""
    rows = [(name, row["value"], row["from"]) for name, row in preprocessing_of(manifest).items()]
    print_table(console, "", [Column("preprocessing"), text("value"), text("from")], rows)
