"""The bundle that the package ships: a NaViT of 152,000 parameters that names drawn shapes, and knows nothing else."""

from __future__ import annotations

from pathlib import Path

from navit_edge.bundle import hashing, publish
from navit_edge.bundle import manifest as manifests
from navit_edge.errors import BundleError

#: Graphs, weights and manifest; no engine. scripts/train_demo_model.py made the weights.
SHIPPED = Path(__file__).parent / "shapes.navit"


def copy_bundle(target: Path) -> bool:
    """Writes the bundle to ``target``, unless a bundle of the same graphs and weights is there: whether it was written.

    Raises BundleError: Something else is there, or the disk is full.
    """
    shipped = manifests.load(SHIPPED)
    if target.exists():
        if _holds(target, shipped):
            return False
        raise BundleError(f"{target} is there and is not the demo's bundle; name another folder, or remove it")
    with publish.staged_bundle(target) as staging:
        for name in shipped.files:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(hashing.read_file(SHIPPED, shipped, name))
        publish.seal(staging, shipped)
    return True


def _holds(target: Path, shipped: manifests.Manifest) -> bool:
    """Whether ``target`` is a bundle whose graphs and weights are those of ``shipped``, unaltered."""
    try:
        found = manifests.load(target)
        hashing.verify_files(target, found, list(shipped.files))
    except BundleError:
        return False
    return all(found.files[name] == file for name, file in shipped.files.items())
