"""What a bundle is known by: the hash of what it computes, and those of the files of an engine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Manifest
from navit_edge.errors import BundleError


def model_hash(bundle: Path, *, as_written: bool = False) -> str:
    """Of what a bundle computes: its model, its weights and its preprocessing. Engines may have been added since.

    Objects are compared as values: the order of their fields does not count. ``as_written``: it does, as in journals of
    versions up to 0.1.
    """
    content = manifests.load(bundle)
    files = {name: file.sha256 for name, file in content.files.items() if name.startswith("graphs/")}
    if not files:
        raise BundleError(f"{bundle} holds no graphs; export it again")
    preprocess = msgspec.to_builtins(content.preprocess)
    for name, before in (("orientation", "as-decoded"), ("icc", "ignore")):  # what outputs of older versions go without
        if preprocess[name] == before:
            del preprocess[name]
    parts = [content.model, preprocess, sorted(files.items()), content.labels]
    return hashlib.sha256(msgspec.json.encode(parts, order=None if as_written else "sorted")).hexdigest()


def hashes_of(manifest: Manifest, name: str) -> str:
    """Of the files of an engine, or of a group's."""
    files = [
        engine.file
        for engine in manifest.engines
        if engine.id == name or (engine.group is not None and engine.group.id == name)
    ]
    return ",".join(manifest.files[file].sha256 for file in files)
